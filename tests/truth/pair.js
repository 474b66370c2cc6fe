// Handshakes of TLS 1.3 with a hybrid group between a server and its clients, both here, and what the
// server says of each: one JSON object per connection.
//
//   node pair.js HOST PORT CERTIFICATE KEY CLIENT-CERTIFICATE CLIENT-KEY
'use strict';

const fs = require('node:fs');
const tls = require('node:tls');

const [host, port, cert, key, clientCert, clientKey] = process.argv.slice(2);
const GROUP = 'X25519MLKEM768';
const read = (path) => fs.readFileSync(path);

function serve(at, requestCert) {
  const options = {
    cert: read(cert), key: read(key), requestCert, rejectUnauthorized: false, ecdhCurve: GROUP,
    minVersion: 'TLSv1.3',
  };
  const server = tls.createServer(options, (socket) => {
    const presented = socket.getPeerX509Certificate() !== undefined;
    console.log(JSON.stringify({
      client: `${socket.remoteAddress}:${socket.remotePort}`, server: `${host}:${at}`, presented,
      resumed: socket.isSessionReused(), version: socket.getProtocol().slice('TLSv'.length),
    }));
    socket.on('error', () => {});
    socket.end('hello\n');
  });
  return new Promise((resolve) => { server.listen(at, host, () => resolve(server)); });
}

function connect(at, own, session) {
  const options = { host, port: at, rejectUnauthorized: false, ecdhCurve: GROUP, session, ...own };
  return new Promise((resolve, reject) => {
    let ticket;
    const socket = tls.connect(options);
    socket.on('session', (given) => { ticket = given; });
    socket.on('data', () => {});
    socket.on('error', reject);
    socket.on('close', () => resolve(ticket));
  });
}

async function main() {
  let at = Number(port);
  for (const requestCert of [false, true]) {
    for (const own of [{}, { cert: read(clientCert), key: read(clientKey) }]) {
      const server = await serve(at, requestCert);
      const session = await connect(at, own);
      await connect(at, own, session);
      server.close();
      at += 1;
    }
  }
}

main();
