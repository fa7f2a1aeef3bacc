"""New (Resource Manager) web services of Azure Machine Learning Studio."""

from reconciler.kinds.web_service.kind import WebServiceKind

KIND = WebServiceKind()

__all__ = ["KIND", "WebServiceKind"]
