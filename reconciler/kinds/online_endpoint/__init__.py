"""The kind `OnlineEndpoint`: managed online endpoints of Azure Machine Learning."""
