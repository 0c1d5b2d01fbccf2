// HAProxy before one or two nodes, with the rules of haproxy/haproxy.cfg that decide which node is asked, and without
// its TLS, checks and log: those cost the same however many nodes there are, and only two cores are there for all.
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { freePort } from "../system/fixtures/free-port.ts";
import type { Place } from "./place.ts";
import { type Server, startProgram } from "./server.ts";

export interface BalancerOptions {
  readonly nodes: readonly URL[];
  readonly directory: string;
  readonly place: Place;
}

/** Resolves when it listens. */
export async function startBalancer({ nodes, directory, place }: BalancerOptions): Promise<Server> {
  const port = await freePort();
  const file = join(directory, "haproxy.cfg");
  const lines = [
    "global",
    "  maxconn 2000",
    "  nbthread 1",
    "defaults",
    "  mode http",
    "  timeout connect 3s",
    "  timeout client 60s",
    "  timeout server 60s",
    "frontend registry",
    `  bind ${place.address}:${port}`,
    "  default_backend nodes",
    "backend nodes",
    `  http-request set-var(txn.key) 'path,regsub("^.*/blobs/","")'`,
    `  http-request set-var(txn.key) 'path,regsub("^.*?/v2/",""),regsub("/(manifests|blobs)/.*","")' unless { path_reg /blobs/[a-z0-9]+:[0-9a-f]+$ }`,
    "  balance hash var(txn.key)",
    "  hash-type consistent sdbm avalanche",
    ...nodes.map((node, at) => `  server node${at + 1} ${node.host} id ${at + 1}`),
  ];
  await writeFile(file, `${lines.join("\n")}\n`);
  return await startProgram({
    name: "HAProxy",
    command: "haproxy",
    args: ["-db", "-f", file],
    directory,
    place,
    port,
  });
}
