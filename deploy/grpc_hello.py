#!/usr/bin/env python3
"""A first gRPC request: streams one answer and prints its report. Needs grpcio-tools (PyPI).

  grpc_hello.py [ADDRESS] [TEXT]
"""
import pathlib
import sys

import grpc

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "proto"))
pb, pb_grpc = grpc.protos_and_services("skipserve/v1/skipserve.proto")

address = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051"
text = sys.argv[2] if len(sys.argv) > 2 else "Name three rivers of Europe."
stub = pb_grpc.SkipServeStub(grpc.insecure_channel(address))
request = pb.GenerateRequest(chat=pb.Chat(messages=[pb.ChatMessage(role="user", content=text)]),
                             stop=pb.StopRules(max_tokens=64))
for message in stub.Generate(request):
    if message.HasField("chunk"):
        print(message.chunk.text, end="", flush=True)
    else:
        print("\n\n" + str(message.finish))
