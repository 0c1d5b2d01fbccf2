// Connections to servers of LDAP: nothing secret goes over one that is not safe, and what strangers send is no answer.
import t, { type Test } from "tap";
import { LdapConnection } from "../../../src/gate/ldap/ldap-connection.ts";
import { Authority, withoutOpenssl } from "../../fixtures/certificates.ts";
import { eventually } from "../../fixtures/manual-time.ts";
import { startDirectory } from "../../fixtures/scripted-directory.ts";

const alice = "uid=alice,dc=example";
const entries = [{ dn: alice, password: "alice-pw", attributes: { uid: ["alice"] } }];

const skip = withoutOpenssl();
const signal = (): AbortSignal => new AbortController().signal;

function authority(t: Test) {
  const ours = new Authority(t.testdir(), "ours");
  return {
    ca: ours.cert,
    identity: ours.issue("directory", "IP:127.0.0.1"),
    other: ours.issue("other", "DNS:other"),
  };
}

async function open(t: Test, ...options: Parameters<typeof LdapConnection.open>): Promise<LdapConnection> {
  const connection = await LdapConnection.open(...options);
  t.teardown(() => connection.close());
  return connection;
}

t.test("over ldaps:// the server has to prove itself before anything is sent", { skip }, async (t) => {
  const { ca, identity, other } = authority(t);
  const server = await startDirectory(t, entries, { identity, ldaps: true });
  const connection = await open(t, server.server, { startTls: false, ca }, signal());
  t.equal(await connection.bind(alice, "alice-pw"), true);
  t.equal(await connection.bind(alice, "guess"), false);
  t.ok(server.asked.every(({ secure }) => secure));
  await t.rejects(LdapConnection.open(server.server, { startTls: false, ca: undefined }, signal()), {
    code: /SIGNATURE|SIGNED|ISSUER/,
  });
  const impostor = await startDirectory(t, entries, { identity: other, ldaps: true });
  await t.rejects(LdapConnection.open(impostor.server, { startTls: false, ca }, signal()), {
    code: "ERR_TLS_CERT_ALTNAME_INVALID",
  });
  t.same(impostor.asked, []);
});

t.test("with StartTLS no password is sent before TLS, nor to a server without it", { skip }, async (t) => {
  const { ca, identity, other } = authority(t);
  const server = await startDirectory(t, entries, { identity });
  const connection = await open(t, server.server, { startTls: true, ca }, signal());
  t.equal(await connection.bind(alice, "alice-pw"), true);
  t.same(
    server.asked.map(({ what, secure }) => [what, secure]),
    [
      ["startTls", false],
      ["bind", true],
    ],
  );
  const without = await startDirectory(t, entries);
  await t.rejects(LdapConnection.open(without.server, { startTls: true, ca }, signal()), { code: 2 });
  t.same(
    without.asked.map(({ what }) => what),
    ["startTls"],
  );
  const impostor = await startDirectory(t, entries, { identity: other });
  await t.rejects(LdapConnection.open(impostor.server, { startTls: true, ca }, signal()), {
    code: "ERR_TLS_CERT_ALTNAME_INVALID",
  });
  t.notOk(impostor.asked.some(({ what }) => what === "bind"));
});

t.test(
  "what somebody on the way puts behind the answer to StartTLS is no answer to a login",
  { skip },
  async (t) => {
    const { ca, identity } = authority(t);
    const server = await startDirectory(t, entries, { identity });
    // The answers to the next questions, "success", but for a last byte that the first one sent over TLS would be.
    for (const id of [1, 2, 3, 4]) {
      const forged = Buffer.from([
        0x30,
        0x0d,
        0x02,
        0x01,
        id,
        0x61,
        0x08,
        0x0a,
        0x01,
        0x00,
        0x04,
        0x00,
        0x04,
        0x01,
      ]);
      server.injected = forged;
      const said = await LdapConnection.open(server.server, { startTls: true, ca }, signal()).then(
        async (connection) => {
          const right = await connection.bind(alice, "guess");
          connection.close();
          return right;
        },
        () => "refused",
      );
      t.not(said, true, `for the question ${id}: ${said}`);
    }
  },
);

t.test("a connection that is lost stays lost", async (t) => {
  const server = await startDirectory(t, entries);
  const connection = await open(t, server.server, { startTls: false, ca: undefined }, signal());
  t.equal(await connection.bind(alice, "alice-pw"), true);
  t.equal(connection.isOpen, true);
  server.endConnections();
  await t.rejects(async () => {
    for (;;) await connection.bind(alice, "alice-pw");
  });
  t.equal(connection.isOpen, false);
  await t.rejects(connection.bind(alice, "alice-pw"), /the connection is lost/);
  await t.rejects(
    connection.search({
      base: "dc=example",
      scope: "sub",
      filter: "(uid=alice)",
      attributes: ["uid"],
      limit: 1,
    }),
    /the connection is lost/,
  );
  t.ok(server.asked.every(({ connection }) => connection === 0));
});

t.test("neither an empty name or password nor the name of a mechanism is sent", async (t) => {
  const server = await startDirectory(t, entries);
  const connection = await open(t, server.server, { startTls: false, ca: undefined }, signal());
  t.equal(await connection.bind(alice, ""), false);
  t.equal(await connection.bind("", "alice-pw"), false);
  t.equal(await connection.bind("", ""), false);
  t.equal(await connection.bind("EXTERNAL", "alice-pw"), false);
  t.same(server.asked, []);
});

t.test("giving up ends the connection, in the making or made", async (t) => {
  const server = await startDirectory(t, entries);
  server.says = () => "silence";
  const over = new AbortController();
  const connection = await open(t, server.server, { startTls: false, ca: undefined }, over.signal);
  const binding = connection.bind(alice, "alice-pw");
  over.abort();
  await t.rejects(binding);
  t.equal(connection.isOpen, false);
  const early = new AbortController();
  const opening = LdapConnection.open(server.server, { startTls: true, ca: undefined }, early.signal);
  const settled = opening.then(
    () => "open",
    () => "refused",
  );
  await eventually("it is asked", () => server.asked.some(({ what }) => what === "startTls"));
  early.abort();
  t.equal(await settled, "refused");
});
