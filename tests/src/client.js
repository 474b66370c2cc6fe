// HOST PORT NAME ROOT CHAIN KEY REQUESTS, or nothing: then it waits.
const fs = require('fs');
const https = require('https');
const [host, port, servername, root, chain, key, requests] = process.argv.slice(1);
const read = (path) => (path ? fs.readFileSync(path) : undefined);

function request(left, session) {
    if (left === 0) return;
    const options = {
        host, port, servername, session, agent: false, timeout: 10000,
        ca: read(root), cert: read(chain), key: read(key), rejectUnauthorized: root !== '',
    };
    let status = 0;
    const call = https.get(options, (response) => {
        status = response.statusCode;
        response.resume();
    });
    call.on('socket', (socket) => socket.on('session', (ticket) => { session = ticket; }));
    call.on('timeout', () => call.destroy());
    call.on('error', (error) => console.error(error.message));
    call.on('close', () => {
        console.log(status);
        request(left - 1, session);
    });
}

if (host === undefined) {
    console.log('idle');
    process.stdin.resume();
} else {
    request(Number(requests));
}
