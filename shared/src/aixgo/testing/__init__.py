"""What users and adapter authors test with; imports no test framework and no client library.

`broker_checks` holds the promises of the broker port, `virtual_time` a loop whose time costs none.
Each is imported by its own name, so that importing this package costs nothing.
"""
