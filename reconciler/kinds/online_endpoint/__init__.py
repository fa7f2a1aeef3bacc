"""The kind `OnlineEndpoint`: managed online endpoints of Azure Machine Learning.

An endpoint and its deployments are one resource and one document. This folder must not know the
engine: it says what the service's documents mean, and makes the calls of one write.
"""

from reconciler.kinds.online_endpoint.kind import OnlineEndpointKind

KIND = OnlineEndpointKind()

__all__ = ["KIND", "OnlineEndpointKind"]
