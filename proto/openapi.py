#!/usr/bin/env python3
"""Makes api_pages.c: the OpenAPI document and the page for people.

    openapi.py VERSION OUTPUT.c
"""
import json, sys
def c_array(name, text):
    data = text.encode()
    lines = [",".join(str(b) for b in data[i:i + 32]) for i in range(0, len(data), 32)]
    return "const char %s[] = {\n%s,0};\nconst size_t %s_size = sizeof %s - 1;\n" % (name, ",\n".join(lines), name, name)
version, output = sys.argv[1:]
with open(output, "w", encoding="ascii") as out:
    out.write('#include "proto/api_pages.h"\n\n')
    out.write(c_array("rr_openapi_page", json.dumps({"openapi": "3.1.0"})))
    out.write(c_array("rr_docs_page", "<p>x"))
