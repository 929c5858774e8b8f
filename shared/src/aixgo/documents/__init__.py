"""The configuration document: YAML or JSON → the declarations of a system, or every error at once.

`load_document(path)` returns a `Document`, whose agents are those that Python would declare.
"""

from aixgo.documents.document import Document
from aixgo.documents.read import load_document, parse_document
from aixgo.documents.schema import document_schema

__all__ = ["Document", "document_schema", "load_document", "parse_document"]
