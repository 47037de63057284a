"""What is kept: one ClickHouse in this process, its tables, and how they are read."""
