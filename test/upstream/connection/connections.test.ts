import { once } from "node:events";
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import t from "tap";
import { Connections } from "../../../src/upstream/connection/connections.ts";
import { upstreamConfig } from "../../fixtures/connected-upstream.ts";

t.test("after a transfer was cut off the next request takes an idle connection, not a new one", async (t) => {
  const waiting: ServerResponse[] = [];
  const server = createServer((request, response) => {
    if (request.url === "/whole") response.end("whole");
    else {
      waiting.push(response);
      response.write("begun");
    }
  });
  let connected = 0;
  server.on("connection", () => connected++);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const connections = new Connections(upstreamConfig(new URL(origin)), "test");
  t.teardown(async () => {
    await connections.close();
    server.closeAllConnections();
    server.close();
  });

  const cut = new AbortController();
  const first = await connections.own.current.request({ path: "/part", method: "GET", signal: cut.signal });
  const second = await connections.own.current.request({ path: "/part", method: "GET" });
  t.equal(connected, 2);
  for (const response of waiting.slice(1)) response.end();
  await second.body.text();

  const disconnected = once(connections.own.current, "disconnect");
  cut.abort();
  await t.rejects(first.body.text());
  await disconnected;
  const next = await connections.own.current.request({ path: "/whole", method: "GET" });
  t.equal(await next.body.text(), "whole");
  t.equal(connected, 2);
});
