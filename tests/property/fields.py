"""A small schema that holds every keyword, so that the laws reach each in short examples."""

from reconciler.document.schema import compile_schema

EVERY_KEYWORD = compile_schema(
    {
        "type": "object",
        "properties": {
            "id": {"type": "string", "readOnly": True},
            "location": {"type": "string", "x-compare": "location", "x-immutable": True},
            "frozen": {"type": "boolean", "x-server-default": False, "x-irreversible": True},
            "key": {"type": "string", "writeOnly": True, "x-sensitive": True},
            "plan": {
                "type": "object",
                "properties": {"id": {"type": "string", "writeOnly": True, "x-compare": "arm-id"}},
            },
            "calls": {"type": "integer", "x-compare": "number"},
            "limits": {
                "type": "object",
                "properties": {"most": {"type": "integer"}},
                "x-server-fills": True,
            },
            "expiry": {"type": "string", "x-compare": "instant", "x-empty": "absent"},
            "tags": {
                "type": "object",
                "additionalProperties": {"type": "string"},
                "x-empty": "absent",
            },
            "level": {"type": "string", "x-compare": "casefold"},
            "edges": {"type": "array", "x-list": "atomic", "items": {"type": "string"}},
            "links": {
                "type": "array",
                "x-list": "set",
                "items": {"type": "object", "properties": {"node": {"type": "string"}}},
            },
            "parts": {
                "type": "array",
                "x-list": "keyed",
                "x-key": "name",
                "items": {
                    "type": "object",
                    "properties": {
                        "name": {"type": "string"},
                        "size": {"type": "number"},
                        "uri": {"type": "string", "x-compare": "blob-uri", "x-model": True},
                        "key": {"type": "string", "writeOnly": True, "x-sensitive": True},
                    },
                },
            },
            "nodes": {
                "type": "object",
                "additionalProperties": {
                    "type": "object",
                    "x-compare": "sealed",
                    "x-sealed-by": "certificateThumbprint",
                    "properties": {
                        "value": {},
                        "certificateThumbprint": {"type": "string"},
                    },
                },
            },
            "free": {"type": "object", "x-opaque": True},
        },
    }
)
