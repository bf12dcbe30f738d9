"""Receives OTLP as OpenTelemetry's own code reads it, and writes each record as a line of JSON.
Usage: receive_otlp.py FILE. Prints its port."""

import gzip
import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        request = ExportLogsServiceRequest.FromString(body)
        with open(sys.argv[1], "a") as out:
            for of_resource in request.resource_logs:
                resource = {a.key: a.value.string_value for a in of_resource.resource.attributes}
                for scope in of_resource.scope_logs:
                    for record in scope.log_records:
                        fields = {a.key: a.value.string_value for a in record.attributes}
                        out.write(
                            json.dumps(
                                {
                                    "path": self.path,
                                    "resource": resource,
                                    "time": record.time_unix_nano,
                                    "severity": record.severity_number,
                                    "body": record.body.string_value,
                                    "fields": fields,
                                    "trace": record.trace_id.hex(),
                                }
                            )
                            + "\n"
                        )
        answer = ExportLogsServiceResponse().SerializeToString()
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
