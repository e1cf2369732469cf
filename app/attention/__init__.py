"""The Attention page: a side network, module by module."""
