"""One benchmark area a module, each with `measure() -> Report`."""
