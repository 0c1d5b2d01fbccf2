import { readFileSync } from "node:fs";
import t from "tap";
import { settings } from "../../src/config/settings.ts";
import { commandLine } from "../fixtures/command-line.ts";

t.test("--help shows examples, every variable and the exit codes", async (t) => {
  const line = commandLine(["--help"]);
  t.equal(await line.exit, 0);
  for (const part of ["Examples:", "Environment (", "Exit codes:", "serve", "check", "demo"]) {
    t.ok(line.out().includes(part), part);
  }
  for (const { env } of settings) {
    if (env !== undefined) t.ok(line.out().includes(env), env);
  }
  t.equal(line.err(), "");
});

t.test("schema prints the JSON Schema that is in deploy/", async (t) => {
  const line = commandLine(["schema"]);
  t.equal(await line.exit, 0);
  const committed = readFileSync(new URL("../../deploy/entrepot.schema.json", import.meta.url), "utf8");
  t.same(JSON.parse(line.out()), JSON.parse(committed), "npm run schema writes it");
});

t.test("--version", async (t) => {
  const line = commandLine(["--version"]);
  t.equal(await line.exit, 0);
  t.equal(line.out(), "1.2.3\n");
});

t.test("what the command line does not know is exit code 2, in one style", async (t) => {
  for (const [argv, says] of [
    [["chek"], 'entrepot: there is no command "chek"; did you mean check?\n'],
    [["xyzzy"], /^entrepot: there is no command "xyzzy"; commands: serve, check, .*why, .*, help\n/],
    [["--bogus"], "entrepot: unknown option '--bogus'\n"],
    [["check", "--config"], "entrepot: option '-c, --config <file>' argument missing\n"],
    [
      ["check", "extra"],
      "entrepot: too many arguments for 'check'. Expected 0 arguments but got 1: extra.\n",
    ],
    [
      ["demo", "--port", "65536"],
      /^entrepot: option '--port <number>' argument '65536' is invalid\. Expected a number/,
    ],
    [["demo", "--ops-port", "x"], /^entrepot: option '--ops-port <number>'/],
  ] as const) {
    const line = commandLine(argv);
    t.equal(await line.exit, 2, argv.join(" "));
    if (typeof says === "string") t.equal(line.err().replace("(see entrepot --help)\n", ""), says);
    else t.match(line.err(), says);
    t.ok(line.err().endsWith("(see entrepot --help)\n"), argv.join(" "));
    t.equal(line.out(), "");
  }
});

t.test("an error that is nobody's mistake at the terminal is not swallowed", async (t) => {
  const line = commandLine(["check"], {
    env: new Proxy(
      {},
      {
        ownKeys: () => {
          throw new Error("broken");
        },
      },
    ),
  });
  await t.rejects(line.exit, { message: "broken" });
});
