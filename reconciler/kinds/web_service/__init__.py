"""The kind `WebService`: New (Resource Manager) web services of Azure Machine Learning Studio.

It does not know other kinds, plans or the engine.
"""

from reconciler.kinds.web_service.kind import WebServiceKind

KIND = WebServiceKind()

__all__ = ["KIND", "WebServiceKind"]
