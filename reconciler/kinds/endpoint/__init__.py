"""Endpoints of Classic web services of Azure Machine Learning Studio."""

from reconciler.kinds.endpoint.kind import EndpointKind

KIND = EndpointKind()

__all__ = ["KIND", "EndpointKind"]
