import socket
import sys

from OpenSSL import SSL

if len(sys.argv) == 1:
    print("idle", flush=True)
    sys.stdin.read()
    sys.exit()

host, port, name, root, chain, key, requests = sys.argv[1:]
context = SSL.Context(SSL.TLS_CLIENT_METHOD)
if root:
    context.load_verify_locations(root)
    context.set_verify(SSL.VERIFY_PEER)
if chain:
    context.use_certificate_chain_file(chain)
    context.use_privatekey_file(key)
session = None
for _ in range(int(requests)):
    status = "0"
    try:
        plain = socket.create_connection((host, int(port)))
        tls = SSL.Connection(context, plain)
        tls.set_tlsext_host_name(name.encode())
        if session:
            tls.set_session(session)
        tls.set_connect_state()
        tls.do_handshake()
        tls.sendall(f"GET / HTTP/1.0\r\nHost: {name}\r\n\r\n".encode())
        response = b""
        try:
            while data := tls.recv(65536):
                response += data
        except (SSL.ZeroReturnError, SSL.SysCallError):
            pass
        # TLS 1.3 sends tickets after the handshake.
        session = tls.get_session()
        status = response.split()[1].decode() if response else "0"
        tls.shutdown()
        plain.close()
    except SSL.Error as error:
        print(error, file=sys.stderr)
    print(status)
