// CVE-2026-33540 (CNCF Distribution): whoever answers in upstream's place names a token server of his own, and the mirror
// takes its account there.
import t, { type Test } from "tap";
import { startMirror } from "../fixtures/mirror.ts";
import { startUpstream } from "../fixtures/scripted-upstream.ts";

t.test("a challenge brings the account nowhere else", async (t) => {
  const attacker = await startUpstream(t, { anonymous: true, path: "" });
  const { host, port } = attacker.url;
  /** What a client gets when upstream's challenge names this token server. */
  const challenged = async (t: Test, realm: (upstream: URL) => string, tokenRealms: string[] = []) => {
    const upstream = await startUpstream(t);
    const challenge = `Bearer realm="${realm(upstream.url)}",service="registry"`;
    upstream.fault(() => ({ status: 401, headers: { "www-authenticate": challenge } }));
    const mirror = await startMirror(t, upstream, { upstream: { tokenRealms } });
    return await mirror.get("/v2/team/app/manifests/1");
  };
  for (const realm of [
    () => `http://127.0.0.1:${port}/token`,
    () => `http://localhost:${port}/token`,
    () => `http://2130706433:${port}/token`,
    () => `http://0x7f.1:${port}/token`,
    (own: URL) => `http://${own.host}@127.0.0.1:${port}/token`,
    (own: URL) => `http://127.0.0.1:${port}/${own.host}/token`,
    () => `//127.0.0.1:${port}/token`,
    () => `https://127.0.0.1:${port}/token`,
  ])
    await t.test(`${realm}`, async (t) => {
      const answer = await challenged(t, realm);
      t.equal(answer.status, 502);
      t.equal(answer.headers["www-authenticate"], undefined, "and no client is sent there");
      t.equal(attacker.connections, 0);
    });
  await t.test("where an operator allows it, it is asked", async (t) => {
    await challenged(t, () => `http://${host}/token`, [host]);
    t.ok(attacker.connections > 0);
  });
});
