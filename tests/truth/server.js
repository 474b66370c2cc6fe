// HOST PORT CERTIFICATE KEY GROUP VERSION: writes every handshake message of one connection, then ends.
const fs = require('fs');
const tls = require('tls');
const [host, port, cert, key, ecdhCurve, version] = process.argv.slice(2);
const server = tls.createServer({
    cert: fs.readFileSync(cert), key: fs.readFileSync(key), ecdhCurve,
    minVersion: version, maxVersion: version,
    requestCert: true, rejectUnauthorized: false, enableTrace: true,
}, (socket) => {
    socket.on('error', () => {});
    socket.once('data', () => socket.end('HTTP/1.0 200 ok\r\n\r\nok\n'));
    socket.on('close', () => server.close());
});
server.on('tlsClientError', () => server.close());
server.listen(Number(port), host, () => console.log('ACCEPT'));
