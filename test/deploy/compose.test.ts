// docker-compose.yml as Compose understands it, and whether the programs in it understand what it tells them.
import { createPrivateKey, X509Certificate } from "node:crypto";
import { existsSync, globSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import t from "tap";
import { parse } from "yaml";
import { problemsOf } from "../fixtures/deployed-configuration.ts";
import { attempt, type Ran } from "../system/fixtures/child.ts";
import { type Compose, findCompose } from "../system/fixtures/compose.ts";
import { requires } from "../system/fixtures/requires.ts";

const root = join(import.meta.dirname, "../..");

interface Service {
  readonly image: string;
  readonly environment?: Readonly<Record<string, string>>;
  readonly volumes?: readonly { readonly source?: string; readonly target: string }[];
  readonly ports?: readonly { readonly target: number }[];
  readonly [key: string]: unknown;
}

interface Composed {
  readonly services: Readonly<Record<string, Service>>;
  readonly volumes: Readonly<Record<string, unknown>>;
  readonly networks: Readonly<
    Record<string, { readonly ipam: { readonly config: readonly { readonly subnet: string }[] } }>
  >;
}

const settings = {
  ENTREPOT_UPSTREAM_URL: "https://artifactory.example.com/artifactory/api/docker/docker-local",
};
const login = { ENTREPOT_UPSTREAM_USERNAME: "mirror", ENTREPOT_UPSTREAM_PASSWORD_FILE: "./password" };

async function composed(compose: Compose, env: NodeJS.ProcessEnv): Promise<Composed> {
  const ran = await compose(["config"], { env, cwd: root });
  if (ran.code !== 0) throw new Error(ran.output);
  return parse(ran.standardOutput) as Composed;
}

t.test("docker compose config", async (t) => {
  const compose = await findCompose(t);
  if (compose === undefined) return;
  const { services, volumes, networks } = await composed(compose, settings);
  t.same(Object.keys(services).sort(), ["haproxy", "mirror-1", "mirror-2", "redis", "s3", "secrets"]);

  await t.test("every container is hardened and checked", async (t) => {
    for (const [name, service] of Object.entries(services)) {
      const hardened = { read_only: true, cap_drop: ["ALL"], security_opt: ["no-new-privileges:true"] };
      t.match(service, { ...hardened, restart: name === "secrets" ? "no" : "unless-stopped" }, name);
      if (!name.startsWith("mirror") && name !== "secrets")
        t.ok(service.healthcheck, `${name}: the mirrors' check is in the image`);
    }
  });

  await t.test("secrets are files, each in the volumes of those who read them", async (t) => {
    const places = t.testdir(emptyPlaces);
    t.equal((await makeSecrets(places)).code, 0);
    for (const [name, { environment = {}, volumes = [], depends_on }] of Object.entries(services)) {
      if (name === "secrets") continue;
      const held = Object.keys(environment).filter((key) => /PASSWORD|SECRET|ACCESS_KEY/.test(key));
      t.ok(
        held.every((key) => key.endsWith("_FILE")),
        `${name}: ${held.join(" ")}`,
      );
      const kind = name.startsWith("mirror") ? "mirror" : name;
      const mounted = { source: `secrets-${kind}`, target: "/run/secrets", read_only: true };
      t.ok(
        volumes.some((volume) => isDeepStrictEqual({ ...volume, ...mounted }, volume)),
        `${name} has ${mounted.source} and`,
      );
      t.equal(volumes.filter(({ source }) => source?.startsWith("secrets-")).length, 1, "no others");
      for (const key of held.filter((key) => environment[key] !== "")) {
        const file = environment[key]?.replace("/run/secrets", join(places, "secrets", kind)) ?? "";
        t.ok(existsSync(file), `${key} is made`);
      }
      if (name !== "haproxy")
        t.match(depends_on, { secrets: { condition: "service_completed_successfully" } }, name);
    }
  });

  await t.test("the status page is on this host, for who has the password", async (t) => {
    const [page] = services["mirror-1"]?.ports ?? [];
    t.match(page, { host_ip: "127.0.0.1", target: 5001, published: "5001" });
    const { environment = {} } = services["mirror-1"] as Service;
    t.equal(environment.ENTREPOT_OPS_ACCESS_PASSWORD_FILE, "/run/secrets/ops-password");
  });

  await t.test("with and without a login", async (t) => {
    const user = (service?: Service) => [
      service?.environment?.ENTREPOT_UPSTREAM_USERNAME,
      service?.environment?.ENTREPOT_UPSTREAM_PASSWORD_FILE,
    ];
    t.same(user(services["mirror-1"]), ["", ""]);
    const { services: withLogin } = await composed(compose, { ...settings, ...login });
    t.same(user(withLogin["mirror-1"]), ["mirror", "/run/secrets/upstream-password"]);
    t.same(problemsOf({ env: withLogin["mirror-1"]?.environment ?? {} }), []);
    const given = withLogin.secrets?.volumes?.find(({ target }) => target === "/given/upstream-password");
    t.match(given, { source: join(root, "password"), read_only: true });
  });

  await t.test("the mirrors' image is made here, all others are published", async (t) => {
    for (const [name, { image, build, pull_policy }] of Object.entries(services)) {
      const policies: Record<string, string> = { "mirror-1": "build", "mirror-2": "never" };
      t.equal(pull_policy, policies[name], name);
      t.equal(build !== undefined, name === "mirror-1");
      if (name in policies) t.equal(image, services["mirror-1"]?.image);
      // Nothing can be pulled here: these are in use at other projects.
      else t.ok(["haproxy:3.2", "redis:7.2", "chrislusf/seaweedfs:4.48"].includes(image), image);
    }
  });

  await t.test("the mirrors are two nodes of one datacenter", async (t) => {
    const [one, two] = [services["mirror-1"], services["mirror-2"]];
    for (const { environment = {} } of [one, two] as Service[]) t.same(problemsOf({ env: environment }), []);
    const own = ["ENTREPOT_NODE_NAME", "ENTREPOT_NODE_ADDRESS"];
    const shared = (service?: Service) =>
      Object.entries(service?.environment ?? {}).filter(([key]) => !own.includes(key));
    t.same(shared(one), shared(two));
    for (const key of own) t.not(one?.environment?.[key], two?.environment?.[key]);
    t.notSame(one?.volumes, two?.volumes, "each with a cache of its own");
    const kept = Object.keys(volumes).filter((name) => !name.startsWith("secrets-"));
    t.same(kept.sort(), ["cache-1", "cache-2", "redis", "s3"]);
    for (const { ports = [] } of [one, two] as Service[])
      t.notOk(
        ports.some(({ target }) => target === 5000),
        "clients reach them through HAProxy only",
      );
  });

  await t.test("HAProxy knows both, and both believe it about clients", async (t) => {
    const subnets = Object.values(networks).flatMap(({ ipam }) => ipam.config.map(({ subnet }) => subnet));
    t.equal(services["mirror-1"]?.environment?.ENTREPOT_TRUSTED_PROXIES, subnets.join(","));
    t.match(services.haproxy?.environment, { LB_NODE_1: "mirror-1:5000", LB_NODE_2: "mirror-2:5000" });
    t.ok(existsSync(join(root, "haproxy/haproxy.cfg")));
  });
});

t.test("without an upstream it says what is missing", async (t) => {
  const compose = await findCompose(t);
  if (compose === undefined) return;
  t.match((await compose(["config"], { env: {}, cwd: root })).output, /the registry to mirror/);
});

const emptyPlaces = { given: {}, secrets: { mirror: {}, haproxy: {}, redis: {}, s3: {} } };

/** Runs what makes the secrets on directories of ours. */
function makeSecrets(places: string, env: NodeJS.ProcessEnv = {}): Promise<Ran> {
  const given = { GIVEN: join(places, "given"), SECRETS: join(places, "secrets") };
  return attempt("sh", [join(root, "deploy/compose/make-secrets.sh")], { env: { ...given, ...env } });
}

t.test("make-secrets.sh", async (t) => {
  if (!requires(t, "openssl")) return;
  const places = t.testdir(emptyPlaces);
  const read = (path: string): string => readFileSync(join(places, "secrets", path), "utf8");
  const all = (): readonly string[] =>
    globSync("secrets/*/*", { cwd: places })
      .sort()
      .map((path) => `${path}: ${readFileSync(join(places, path), "utf8")}`);

  t.equal((await makeSecrets(places)).code, 0);
  t.equal(read("redis/redis-password"), read("mirror/redis-password"));
  t.equal(read("s3/s3-secret-access-key"), read("mirror/s3-secret-access-key"));
  t.match(read("mirror/node-secret"), /^[0-9a-f]{48}$/, "without the end of a line");
  const first = all();
  t.equal(first.length, 10);
  const again = await makeSecrets(places);
  t.same(all(), first, "a second time nothing changes");
  t.equal(again.output, "");

  await t.test("a certificate that says what it is, for the name that clients use", async (t) => {
    const made = new X509Certificate(read("haproxy/self-made.pem"));
    t.match(made.subject, /self-made certificate of entrepot/);
    t.match(made.subject, /known to no authority/);
    t.ok(made.checkHost("localhost"));
    t.ok(made.checkPrivateKey(createPrivateKey(read("haproxy/tls.pem"))), "HAProxy has its key");
    await makeSecrets(places, { ENTREPOT_HOST: "mirror.example.com" });
    const named = new X509Certificate(read("haproxy/self-made.pem"));
    t.ok(named.checkHost("mirror.example.com"));

    await makeSecrets(places, { ENTREPOT_HOST: "10.0.0.10" });
    t.ok(new X509Certificate(read("haproxy/self-made.pem")).checkIP("10.0.0.10"));
  });

  await t.test("what is given is taken", async (t) => {
    const own = { mode: 0o600 };
    writeFileSync(join(places, "given/tls.pem"), "a certificate and its key", own);
    writeFileSync(join(places, "given/upstream-password"), "given", own);
    t.equal((await makeSecrets(places, { ENTREPOT_UPSTREAM_USERNAME: "mirror" })).code, 0);
    t.equal(read("haproxy/tls.pem"), "a certificate and its key");
    t.notOk(existsSync(join(places, "secrets/haproxy/self-made.pem")));
    t.equal(read("mirror/upstream-password"), "given");
    for (const path of ["haproxy/tls.pem", "mirror/upstream-password"])
      t.equal(
        statSync(join(places, "secrets", path)).mode & 0o777,
        0o644,
        "others read it in the containers",
      );
  });

  await t.test("a user name without a password is told", async (t) => {
    writeFileSync(join(places, "given/upstream-password"), "");
    const { code, output } = await makeSecrets(places, { ENTREPOT_UPSTREAM_USERNAME: "mirror" });
    t.equal(code, 1);
    t.match(output, /ENTREPOT_UPSTREAM_PASSWORD_FILE/);
  });
});
