"""Applied in order by `meshkit.postgres.migrate`; never changed once released."""
