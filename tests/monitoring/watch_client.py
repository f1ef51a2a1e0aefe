"""Follows a server's events with plain grpcio: a client as automation has one.

    watch_client.py --proto PROTO_DIR --server HOST:PORT [--after SEQ] --count N
prints N events, a JSON object a line.
"""

import argparse
import importlib
import os
import subprocess
import sys
import tempfile


def stubs(proto, folder):
    """Messages by protoc; the one method is called by its name."""
    subprocess.run(
        ["protoc", "-I", proto, "--python_out", folder,
         *(os.path.join(proto, "steadyrun/v1", name)
           for name in sorted(os.listdir(
               os.path.join(proto, "steadyrun/v1")))
           if name.endswith(".proto"))],
        check=True,
    )
    sys.path.insert(0, folder)
    return importlib.import_module("steadyrun.v1.operator_pb2")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--proto", required=True)
    parser.add_argument("--server", required=True)
    parser.add_argument("--after", type=int, default=0)
    parser.add_argument("--count", type=int, required=True)
    options = parser.parse_args()
    import grpc
    from google.protobuf import json_format

    with tempfile.TemporaryDirectory() as folder:
        messages = stubs(options.proto, folder)
        with grpc.insecure_channel(options.server) as channel:
            watch = channel.unary_stream(
                "/steadyrun.v1.OperatorService/WatchEvents",
                request_serializer=lambda m: m.SerializeToString(),
                response_deserializer=messages.Event.FromString,
            )
            call = watch(
                messages.WatchEventsRequest(after_seq=options.after)
            )
            for _, event in zip(range(options.count), call):
                print(json_format.MessageToJson(
                    event, preserving_proto_field_name=True,
                    including_default_value_fields=True, indent=None,
                ), flush=True)
            call.cancel()


main()
