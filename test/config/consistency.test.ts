import t from "tap";
import { problemsOf, upstreamUrl } from "../fixtures/loading.ts";

const url = "upstream:\n  url: https://registry.example.com\n";

t.test("a user name and a password come together", async (t) => {
  t.same(problemsOf({ yaml: `${url}  username: u\n` }), [
    "upstream.username (mirror.yaml:3:13): found a user name without a password, expected upstream.password or upstream.passwordFile as well",
  ]);
  t.same(problemsOf({ env: { ...upstreamUrl, ENTREPOT_UPSTREAM_PASSWORD: "hunter2" } }), [
    "ENTREPOT_UPSTREAM_PASSWORD: found a password without a user name, expected upstream.username as well",
  ]);
  t.match(problemsOf({ yaml: `${url}  passwordFile: /p\n`, files: { "/p": "x" } }), [/without a user name/]);
  t.same(problemsOf({ yaml: `${url}  username: u\n`, env: { ENTREPOT_UPSTREAM_PASSWORD: "p" } }), []);
});

t.test("a password and a password file exclude each other", async (t) => {
  const yaml = `${url}  username: u\n  passwordFile: /p\n`;
  t.same(problemsOf({ yaml, env: { ENTREPOT_UPSTREAM_PASSWORD: "hunter2" }, files: { "/p": "hunter2" } }), [
    "upstream.passwordFile (mirror.yaml:4:17): found both this and ENTREPOT_UPSTREAM_PASSWORD, expected only one of the two",
  ]);
});

t.test("the two listeners need two ports", async (t) => {
  t.same(problemsOf({ env: { ...upstreamUrl, ENTREPOT_LISTEN: ":5001" } }), [
    "ENTREPOT_LISTEN: found port 5001 for both listen and opsListen, expected two ports",
  ]);
  t.match(problemsOf({ yaml: `${url}opsListen: "[::1]:5000"\n` }), [
    /^opsListen \(mirror.yaml:3:12\): found port 5000/,
  ]);
  t.same(problemsOf({ env: { ...upstreamUrl, ENTREPOT_LISTEN: ":0", ENTREPOT_OPS_LISTEN: ":0" } }), []);
});
