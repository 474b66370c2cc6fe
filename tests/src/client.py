import socket
import ssl
import sys

host, port, name, root, chain, key, requests = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
if root:
    context.load_verify_locations(root)
else:
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
if chain:
    context.load_cert_chain(chain, key)
session = None
for _ in range(int(requests)):
    status = "0"
    try:
        with socket.create_connection((host, int(port)), timeout=10) as plain, context.wrap_socket(
            plain, server_hostname=name, session=session
        ) as tls:
            tls.sendall(f"GET / HTTP/1.0\r\nHost: {name}\r\n\r\n".encode())
            response = b""
            while data := tls.recv(65536):
                response += data
            # TLS 1.3 sends tickets after the handshake.
            session = tls.session
            status = response.split()[1].decode()
    except ssl.SSLError as error:
        print(error, file=sys.stderr)
    print(status)
