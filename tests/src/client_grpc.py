import sys

import grpc

if len(sys.argv) == 1:
    print("idle", flush=True)
    sys.stdin.read()
    sys.exit()


def read(path):
    if path:
        with open(path, "rb") as file:
            return file.read()
    return None


host, port, name, root, chain, key, requests = sys.argv[1:]
credentials = grpc.ssl_channel_credentials(read(root), read(key), read(chain))
options = [
    ("grpc.ssl_target_name_override", name),
    ("grpc.default_authority", name),
    ("grpc.use_local_subchannel_pool", 1),
    # One connection only.
    ("grpc.initial_reconnect_backoff_ms", 60000),
    ("grpc.enable_http_proxy", 0),
]
for _ in range(int(requests)):
    status = "0"
    with grpc.secure_channel(f"{host}:{port}", credentials, options) as channel:
        call = channel.unary_unary("/test/call", lambda data: data, lambda data: data)
        try:
            call(b"", timeout=10)
        except grpc.RpcError as error:
            print(error.details(), file=sys.stderr)
            # The upstream speaks HTTP/2 and no gRPC.
            if error.code() != grpc.StatusCode.UNAVAILABLE:
                status = "200"
    print(status)
