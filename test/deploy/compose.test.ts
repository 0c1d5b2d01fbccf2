// docker-compose.yml as Compose understands it, and whether the programs in it understand what it tells them.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { parse } from "yaml";
import { problemsOf } from "../fixtures/deployed-configuration.ts";
import { attempt, type Ran } from "../system/fixtures/child.ts";
import { available, requires } from "../system/fixtures/requires.ts";

const root = join(import.meta.dirname, "../..");

interface Service {
  readonly image: string;
  readonly environment?: Readonly<Record<string, string>>;
  readonly volumes?: readonly unknown[];
  readonly ports?: readonly unknown[];
  readonly secrets?: readonly { readonly source: string }[];
  readonly [key: string]: unknown;
}

interface Composed {
  readonly services: Readonly<Record<string, Service>>;
  readonly volumes: Readonly<Record<string, unknown>>;
  readonly networks: Readonly<
    Record<string, { readonly ipam: { readonly config: readonly { readonly subnet: string }[] } }>
  >;
  readonly secrets: Readonly<Record<string, { readonly file: string }>>;
}

const settings = {
  ENTREPOT_UPSTREAM_URL: "https://artifactory.example.com/artifactory/api/docker/docker-local",
  ENTREPOT_UPSTREAM_USERNAME: "mirror",
};

/** Compose 2 is a plug-in of docker, Debian 12 has Compose 1 as a program; either reads the file. */
async function compose(t: Test, env: NodeJS.ProcessEnv): Promise<Ran | undefined> {
  const options = { env, cwd: root };
  if (available("docker")) {
    const version = await attempt("docker", ["compose", "version"], options);
    if (version.code === 0) return await attempt("docker", ["compose", "config"], options);
  }
  if (!requires(t, "docker-compose")) return undefined;
  return await attempt("docker-compose", ["config"], options);
}

t.test("docker compose config", async (t) => {
  const ran = await compose(t, settings);
  if (ran === undefined) return;
  t.equal(ran.code, 0, ran.output);
  const { services, volumes, networks, secrets } = parse(ran.standardOutput) as Composed;
  t.same(Object.keys(services).sort(), ["haproxy", "mirror-1", "mirror-2", "redis", "s3"]);

  await t.test("every container is hardened and checked", async (t) => {
    for (const [name, service] of Object.entries(services)) {
      t.match(
        service,
        {
          read_only: true,
          cap_drop: ["ALL"],
          security_opt: ["no-new-privileges:true"],
          restart: "unless-stopped",
        },
        name,
      );
      if (!name.startsWith("mirror"))
        t.ok(service.healthcheck, `${name}: the mirrors' check is in the image`);
    }
  });

  await t.test("secrets are files", async (t) => {
    for (const [name, { environment = {}, secrets: used = [] }] of Object.entries(services)) {
      const held = Object.keys(environment).filter((key) => /PASSWORD|SECRET|ACCESS_KEY/.test(key));
      t.ok(
        held.every((key) => key.endsWith("_FILE")),
        `${name}: ${held.join(" ")}`,
      );
      for (const key of held) {
        const file = environment[key]?.replace("/run/secrets/", "");
        t.ok(
          used.some(({ source }) => source === file),
          `${name} is given ${file}`,
        );
      }
    }
    const ignored = readFileSync(join(root, ".gitignore"), "utf8").split("\n");
    t.ok(ignored.includes("secrets/"), "and never committed");
    t.ok(Object.values(secrets).every(({ file }) => file.includes("/secrets/")));
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
    t.same(Object.keys(volumes).sort(), ["cache-1", "cache-2", "redis", "s3"]);
    t.notOk(one?.ports, "reached through HAProxy only");
  });

  await t.test("HAProxy knows both, and both believe it about clients", async (t) => {
    const subnets = Object.values(networks).flatMap(({ ipam }) => ipam.config.map(({ subnet }) => subnet));
    t.equal(services["mirror-1"]?.environment?.ENTREPOT_TRUSTED_PROXIES, subnets.join(","));
    t.match(services.haproxy?.environment, { LB_NODE_1: "mirror-1:5000", LB_NODE_2: "mirror-2:5000" });
    t.ok(existsSync(join(root, "haproxy/haproxy.cfg")));
  });
});

t.test("without an upstream it says what is missing", async (t) => {
  const ran = await compose(t, {});
  if (ran === undefined) return;
  t.match(ran.output, /the registry to mirror/);
});
