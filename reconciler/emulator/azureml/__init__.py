"""Azure Machine Learning: managed online endpoints with their deployments, and registered models.

The package does not re-export anything. The server calls `routes`.
"""
