import { writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { secretFile } from "../../../src/config/secret-file.ts";
import { fixedSecret, Secret } from "../../../src/ports/secret.ts";
import { connectUpstream, repository, tagged, upstreamError } from "../../fixtures/connected-upstream.ts";
import { makeImage } from "../../fixtures/images.ts";
import { ManualClock } from "../../fixtures/manual-time.ts";
import { startUpstream } from "../../fixtures/scripted-upstream.ts";
import { startTokenServer } from "../../fixtures/token-server.ts";

const image = makeImage({ layers: [1000], seed: "fixed-header" });

t.test("the value is sent as it is, and no token asked for", async (t) => {
  const tokens = await startTokenServer(t);
  const registry = await startUpstream(t, { anonymous: true });
  registry.addImage(repository, "1", image);
  const auth = { kind: "header", value: fixedSecret(new Secret("Token xyz")) } as const;
  const { upstream } = connectUpstream(t, registry.url, { auth, tokenRealms: [tokens.realm.host] });
  t.match(await upstream.headManifest(repository, tagged("1")), { kind: "found" });
  registry.bearer = tokens;
  t.match(await upstreamError(upstream.headManifest(repository, tagged("1"))), { code: "auth", status: 401 });
  t.same(
    registry.requests.map(({ kind, headers }) => [kind, headers.authorization]),
    [
      ["manifest", "Token xyz"],
      ["manifest", "Token xyz"],
      // Whether the account is refused, or the repository.
      ["ping", "Token xyz"],
    ],
  );
  t.equal(tokens.requests.length, 0);
});

t.test("a value that has changed in its file is sent after a 401, at once", async (t) => {
  const path = join(t.testdir({ value: "Token first" }), "value");
  const clock = new ManualClock();
  const value = secretFile({
    path,
    name: "the file",
    initial: new Secret("Token first"),
    parse: (text) => new Secret(text),
    clock: clock.read,
  });
  const registry = await startUpstream(t, { anonymous: true });
  registry.addImage(repository, "1", image);
  const { upstream } = connectUpstream(t, registry.url, { auth: { kind: "header", value } }, clock.read);
  const head = () => upstream.headManifest(repository, tagged("1"));
  t.match(await head(), { kind: "found" });
  registry.forget();
  registry.fault(({ headers }) => {
    if (headers.authorization !== "Token first") return undefined;
    // The file is written while the request is on its way.
    writeFileSync(path, "Token second");
    clock.advance(1_000);
    return { status: 401 };
  });
  t.match(await head(), { kind: "found" });
  t.equal(registry.count(), 2);
});
