// A reverse proxy as Node's documentation has it: one agent per upstream, with its defaults.
"use strict";
const fs = require("node:fs");
const http = require("node:http");
const https = require("node:https");

for (const hop of JSON.parse(fs.readFileSync(process.argv[2], "utf8"))) {
  const options = { keepAlive: true };
  if (hop.tls) {
    options.servername = hop.name;
    options.rejectUnauthorized = false;
    if (hop.cert) {
      options.cert = fs.readFileSync(hop.cert);
      options.key = fs.readFileSync(hop.key);
    }
  }
  const client = hop.tls ? https : http;
  const agent = new client.Agent(options);
  http.createServer((request, response) => {
    const { method, url: path, headers } = request;
    const onward = client.request({ ...hop.upstream, agent, method, path, headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    onward.on("error", () => response.writeHead(502).end());
    request.pipe(onward);
  }).listen(hop.listen);
}
