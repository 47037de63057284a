"""Where services are, besides what the catalog says: registry, DNS, Kubernetes."""
