"""The kind `Endpoint`: endpoints of Classic web services of Azure Machine Learning Studio.

It does not know other kinds, plans or the engine.
"""

from reconciler.kinds.endpoint.kind import EndpointKind

KIND = EndpointKind()

__all__ = ["KIND", "EndpointKind"]
