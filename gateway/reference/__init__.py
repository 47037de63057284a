"""The API reference: what every registered service offers, as OpenAPI 3.1 and as a page."""
