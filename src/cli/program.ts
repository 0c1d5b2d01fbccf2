// The command line: the commands, what --help says, and the exit code.
import { Argument, type Command, CommanderError, InvalidArgumentError, Option } from "commander";
import { clientNames } from "../client-config/clients.ts";
import { jsonSchema } from "../config/json-schema.ts";
import { nearest } from "../config/nearest.ts";
import { isMonth } from "../telemetry/savings/report.ts";
import { type BlockOptions, block, blocked, unblock } from "./block/block.ts";
import type { EachOptions } from "./block/change-each.ts";
import { type CheckOptions, check } from "./check.ts";
import { type ClientConfigOptions, clientConfig } from "./client-config/client-config.ts";
import { completionScript, type Shell, shells } from "./completion/completion.ts";
import { type Context, exitCode } from "./context.ts";
import { type DemoFlags, demo } from "./demo.ts";
import { type DoctorFlags, doctor } from "./doctor.ts";
import { type DrillOptions, drill } from "./drill.ts";
import { CliCommand } from "./help/cli-command.ts";
import { commandGroups, rootHelp, serveExitCodes } from "./help/help-text.ts";
import { manualPage } from "./help/manual-page.ts";
import { type HistoryOptions, history } from "./history.ts";
import type { ExportFlags } from "./layout/export.ts";
import type { ImportFlags } from "./layout/import.ts";
import { type PinOptions, pin, pins, unpin } from "./pins.ts";
import { type PurgeOptions, purge } from "./purge.ts";
import { type ReadinessFlags, readiness } from "./readiness.ts";
import { type RefreshOptions, refresh } from "./refresh.ts";
import { type SavingsOptions, savings } from "./savings.ts";
import { type ServeOptions, serve } from "./serve.ts";
import { type WarmOptions, warm } from "./warm.ts";
import { type WhyOptions, why } from "./why.ts";
import { worker } from "./worker.ts";

/** Of commands that want a login at the mirror, or name something. */
const noAnswer =
  "no mirror answers, it needs a login, or a reference, the command line or the configuration is wrong";

/** The commands; `finish` is called with the exit code when one has run. Throws CommanderError for everything else. */
export function program(context: Context, finish: (code: number) => void): Command {
  const root = new CliCommand("entrepot")
    .description("Pull-through cache for private container registries")
    .version(context.version, "-V, --version", "print the version")
    .helpOption("-h, --help", "print this help")
    .addHelpText("after", rootHelp())
    .configureOutput({
      writeOut: context.out,
      writeErr: context.err,
      outputError: (text, write) => write(text.replace(/^error: /, "entrepot: ")),
    })
    .showHelpAfterError("(see entrepot --help)")
    .exitOverride();
  root.commandsGroup(commandGroups.run);
  root
    .command("serve", { isDefault: true })
    .description("run the mirror; this is what happens without a command")
    .configOption()
    .offlineOption()
    .addHelpText("after", serveExitCodes)
    .action(async (options: ServeOptions) => finish(await serve(options, context)));
  root
    .command("check")
    .description(
      "validate the configuration, print it as YAML without secrets, and ask its registries for /v2/",
    )
    .configOption()
    .offlineOption()
    .exitCodes({
      0: "the configuration is right; a registry that does not answer as configured is a warning",
      2: "the configuration or the command line is wrong",
    })
    .action(async (options: CheckOptions) => finish(await check(options, context)));
  root
    .command("client-config")
    .description("print the files that point clients at this mirror, and where they go")
    .addArgument(new Argument("<clients...>", clientNames.join(", ")).choices(clientNames).argParser(collect))
    .configOption()
    .option(
      "--mirror <url>",
      "how clients reach the mirror, such as http://mirror.example.com:5000; what opsPage.mirror says unless set",
    )
    .option(
      "--registry <host>",
      "only for the names of this registry, such as registry.example.com or docker.io (repeatable); all of the configuration unless set, and needed where there is none",
      collect,
    )
    .option("--no-fallback", "the form in which the client asks nobody but the mirror")
    .option(
      "--client-version <version>",
      "of the client, for kind and minikube of containerd in the node: what only newer ones take is left out without it",
    )
    .option("--ca <file>", "PEM file of the authority that signed the mirror's certificate")
    .option("--username <name>", "write this login into the files, of clients whose files hold one")
    .option("--password-file <file>", "file with its password")
    .option(
      "--output <directory>",
      "write the files below it, each in its place, instead of printing them; what a file says that is there already is never changed",
    )
    .addHelpText(
      "after",
      `
The standard output is the file itself, ready to be redirected; of several files each has its path above it. Where it goes and
what to restart is said on the standard error.`,
    )
    .exitCodes({
      0: "done",
      1: "one of several clients cannot do it with this mirror, or a file could not be written, or is there and says something else",
      2: "none of the clients can do it with this mirror, or the command line or the configuration is wrong",
    })
    .action(async (clients: string[], options: ClientConfigOptions) =>
      finish(await clientConfig(clients, options, context)),
    );
  root
    .command("schema")
    .description("print the JSON Schema of the configuration file, for editors")
    .action(() => {
      context.out(`${JSON.stringify(jsonSchema(), undefined, 2)}\n`);
      finish(exitCode.done);
    });
  root
    .command("demo")
    .description("show the mirror at work in front of a small registry of its own")
    .option("--once", "end after one round instead of serving until Ctrl-C")
    .option("--port <number>", "port to pull from; 0 takes any free one", port, 5000)
    .option("--ops-port <number>", "port of health, metrics and the status page", port, 5001)
    .exitCodes({
      0: "done",
      1: "failed to start, or ended by a second signal",
      2: "the command line is wrong",
    })
    .action(async (options: DemoFlags) => finish(await demo(options, context)));
  root
    .command("doctor")
    .description(
      "look at each hop from the configuration to a pull: proxy, DNS, TLS, login, layers, Redis, S3, disk and limits; name the one that fails and the likely fix. Beside a running mirror, which it does not disturb, or without one",
    )
    .configOption()
    .option(
      "--image <image>",
      "what is pulled: [upstream/]repository:tag or @digest; default: what is pinned or warmed, if any",
    )
    .option("--upstream <name>", "look at no other upstream than this one")
    .option("--client <url>", "look from here, as a client of the mirror at that URL, with no configuration")
    .jsonOption("print the checks as JSON")
    .addHelpText(
      "after",
      `
A check takes 15 s at most, all of them 2 minutes. With --client an account for the mirror comes from
ENTREPOT_UPSTREAM_USERNAME and ENTREPOT_UPSTREAM_PASSWORD_FILE, an authority from ENTREPOT_UPSTREAM_TLS_CA.`,
    )
    .exitCodes({
      0: "nothing failed; there may be warnings",
      1: "a check failed, or the command was interrupted",
      2: "the configuration or the command line is wrong: nothing else was looked at",
    })
    .action(async (flags: DoctorFlags) => finish(await doctor(flags, context)));
  root.commandsGroup(commandGroups.ask);
  root
    .command("why")
    .description(
      "tell which parts of an image a running mirror has, what a pull would fetch, and what would come of it without upstream",
    )
    .argument("<reference>", "[upstream/]repository:tag or [upstream/]repository@digest")
    .configOption()
    .opsOption()
    .jsonOption()
    .exitCodes({
      0: "the image is here as a whole: of an index, every image whose manifest is here",
      1: "it is not",
      2: "no mirror answers, or the reference, the command line or the configuration is wrong",
    })
    .action(async (reference: string, options: WhyOptions) => finish(await why(reference, options, context)));
  root
    .command("history")
    .description("tell which digests a tag has named, since when, and who asked when it moved")
    .argument("<reference>", "[upstream/]repository:tag")
    .configOption()
    .opsOption()
    .jsonOption()
    .exitCodes({
      0: "all nodes have told what they have seen",
      1: "a node has not, or the tag was never seen",
      2: "no mirror answers, or the reference, the command line or the configuration is wrong",
    })
    .action(async (reference: string, options: HistoryOptions) =>
      finish(await history(reference, options, context)),
    );
  root
    .command("readiness")
    .description(
      "tell which images pulled lately could be pulled from a running mirror if their registries were gone",
    )
    .option("--days <number>", "how long ago they were pulled at most; up to 365", days, "7")
    .option("--fix", "have that mirror fetch what is missing, as warm does, and look once more")
    .configOption()
    .opsOption()
    .jsonOption(
      "print the answer as JSON; with --fix, JSON lines: the answer, what warm prints, the answer after it",
    )
    .exitCodes(
      {
        0: "all of them could",
        1: "some of them could not, more were pulled than are looked at (20,000), a node of the datacenter did not answer, or the\ncommand was interrupted",
        2: "no mirror answers, or the command line or the configuration is wrong",
      },
      "Exit codes, with --fix of what is found after it",
    )
    .action(async (options: ReadinessFlags) => finish(await readiness(options, context)));
  root
    .command("drill")
    .description(
      "have the nodes of a datacenter answer some clients as if every upstream were dead, for a while; without --clients and --stop, tell of the drill that is on",
    )
    .option(
      "--clients <networks>",
      "addresses and networks of clients, such as 10.1.2.0/24,10.1.3.7; in the place of a drill that is on",
    )
    .option("--for <duration>", "how long, from 1s to 1h; default: 10m")
    .option("--stop", "end the drill that is on")
    .configOption()
    .opsOption()
    .jsonOption()
    .exitCodes({
      0: "done",
      1: "there is no drill to stop",
      2: "no mirror answers or takes it, or the command line or the configuration is wrong",
    })
    .action(async (options: DrillOptions) => finish(await drill(options, context)));
  root
    .command("savings")
    .description(
      "tell what the nodes of a datacenter have saved: bytes, round trips and money, by team and month",
    )
    .configOption()
    .option(
      "--month <month>",
      "a month of UTC such as 2026-11, or all, the last 13; this month unless said",
      month,
    )
    .addOption(new Option("--csv", "a line of CSV for each month, team and upstream").conflicts("json"))
    .jsonOption()
    .opsOption()
    .exitCodes({
      0: "all nodes have told",
      1: "a node has not, and is left out of the sums",
      2: "no mirror answers, or the command line or the configuration is wrong",
    })
    .action(async (options: SavingsOptions) => finish(await savings(options, context)));
  root.commandsGroup(commandGroups.images);
  root
    .command("warm")
    .description("have a running mirror fetch whole images before clients ask for them")
    .argument(
      "[images...]",
      "[upstream/]repository:tag or @digest, also with the name of its registry before it",
    )
    .configOption()
    .opsOption()
    .option("--from <file>", "a file with an image a line; # begins a comment (repeatable)", collect)
    .option(
      "--from-manifests <file>",
      "a file of Kubernetes YAML: the images of its containers (repeatable)",
      collect,
    )
    .option(
      "--from-node <name>",
      "what clients have pulled from another node of the datacenter, by its name there",
    )
    .option("--days <number>", "with --from-node: how long ago at most; up to 365; default: 7", days)
    .option(
      "--platform <platform>",
      "only these of an index, such as linux/amd64 (repeatable); default: all",
      collect,
    )
    .option(
      "--bandwidth <size>",
      "bytes a second at most, such as 50MB/s; at least 64KiB/s; default: no bound",
    )
    .jsonOption("a line of JSON for each image, and one for the job")
    .option("--cancel-on-interrupt", "Ctrl-C ends the job; without it the job goes on in the mirror")
    .exitCodes({
      0: "all of every image is here",
      1: "something is not, or the command was interrupted",
      2: "no mirror answers or takes the job, or the command line or the configuration is wrong",
    })
    .action(async (images: string[], options: WarmOptions) => finish(await warm(images, options, context)));
  root
    .command("pin")
    .description(
      "have a running mirror, and the other nodes of its datacenter, keep images: never evicted, confirmed regularly",
    )
    .argument(
      "<images...>",
      "[upstream/]repository:tag or @digest, also with the name of its registry before it",
    )
    .configOption()
    .opsOption()
    .jsonOption("a line of JSON for each image; for one that is refused its name and the error")
    .exitCodes({
      0: "all of them are pinned",
      1: "one is not: it would be over pin.budget, or cannot be found",
      2: noAnswer,
    })
    .action(async (images: string[], options: PinOptions) => finish(await pin(images, options, context)));
  root
    .command("unpin")
    .description("end what entrepot pin has begun, in all nodes; the images stay until they are evicted")
    .argument("<images...>", "as they were pinned")
    .configOption()
    .opsOption()
    .jsonOption("a line of JSON for each image; for one that is refused its name and the error")
    .exitCodes({
      0: "none of them is pinned by command any more",
      1: "one was not, or the configuration alone pins it",
      2: noAnswer,
    })
    .action(async (images: string[], options: PinOptions) => finish(await unpin(images, options, context)));
  root
    .command("pins")
    .description("list the pinned images of a running mirror, and what of them is here")
    .configOption()
    .opsOption()
    .jsonOption()
    .exitCodes({ 0: "all of them are here as a whole", 1: "one is not, or is over pin.budget", 2: noAnswer })
    .action(async (options: PinOptions) => finish(await pins(options, context)));
  root
    .command("block")
    .description(
      "refuse digests on all nodes, in all repositories: of manifests, configs or layers, with the manifests that name them and what only these have",
    )
    .argument("<digests...>", "sha256:… or sha512:…")
    .requiredOption("--reason <text>", "why, which clients are shown")
    .configOption()
    .opsOption()
    .jsonOption("a line of JSON for each digest; for one that is refused its name and the error")
    .exitCodes({
      0: "all of them are blocked on every node",
      1: "one is not, since there are too many, or a node has not confirmed it: it does it when it hears of it",
      2: noAnswer,
    })
    .action(async (digests: string[], options: BlockOptions) =>
      finish(await block(digests, options, context)),
    );
  root
    .command("unblock")
    .description("end what entrepot block has begun, on all nodes")
    .argument("<digests...>", "as they were blocked")
    .configOption()
    .opsOption()
    .jsonOption("a line of JSON for each digest; for one that is not blocked its name and the error")
    .exitCodes({
      0: "none of them is blocked any more, on any node",
      1: "one was not, block.file still has it, or a node has not confirmed it: it does it when it hears of it",
      2: noAnswer,
    })
    .action(async (digests: string[], options: EachOptions) =>
      finish(await unblock(digests, options, context)),
    );
  root
    .command("blocked")
    .description("list the blocked digests, with their reasons")
    .configOption()
    .opsOption()
    .jsonOption()
    .exitCodes({
      0: "listed",
      2: "no mirror answers, it needs a login, or the command line or the configuration is wrong",
    })
    .action(async (options: EachOptions) => finish(await blocked(options, context)));
  root
    .command("refresh")
    .description(
      "have a running mirror ask again now: what a tag is, whatever its time to live; of a digest, whether what is stored is right",
    )
    .argument("<reference>", "[upstream/]repository:tag or [upstream/]repository@digest")
    .configOption()
    .opsOption()
    .jsonOption()
    .exitCodes({
      0: "upstream has said what the tag is, or what is stored is right now, on every node that answers, or one goes on\nlooking: what fails later stands in its log",
      1: "upstream does not have it or refuses it, or a node could not find out",
      2: "no mirror answers, or the reference, the command line or the configuration is wrong",
    })
    .action(async (reference: string, options: RefreshOptions) =>
      finish(await refresh(reference, options, context)),
    );
  root
    .command("purge")
    .description(
      "delete a tag with its image, an image or a whole repository from the caches of all nodes; upstream keeps it. What something else uses stays",
    )
    .argument(
      "<reference>",
      "[upstream/]repository:tag, [upstream/]repository@digest, a digest (in all repositories), or [upstream/]repository: all of it",
    )
    .configOption()
    .opsOption()
    .option("--dry-run", "only show what would go and what would stay")
    .option("--yes", "do not ask; nobody is asked either where the command is piped")
    .option("--force", "also what pinned images need")
    .jsonOption()
    .exitCodes({
      0: "done, or told with --dry-run; nodes that are away do it when they are back",
      1: "something could not be reached and is tried again, or you said no",
      2: "no mirror answers, pinned images need some of it, or the reference, the command line or the configuration is wrong",
    })
    .action(async (reference: string, options: PurgeOptions) =>
      finish(await purge(reference, options, context)),
    );
  root
    .command("export")
    .description(
      "copy images through a running mirror into an OCI image layout, which entrepot import, skopeo, podman and containerd read",
    )
    .argument(
      "<images...>",
      "[upstream/]repository:tag or @digest, also with the name of its registry before it",
    )
    .requiredOption(
      "--to <path>",
      "a directory (new, empty or a layout), or a file that ends in .tar; begun again, it goes on from what is there",
    )
    .option(
      "--platform <platform>",
      "only these of an index, such as linux/amd64 (repeatable); the index stays as it is; default: all",
      collect,
    )
    .option("--referrers", "with signatures and what else refers to the images")
    .option(
      "--mirror <url>",
      "where clients pull from the mirror, when not where it says (opsPage.mirror, or its name and port)",
    )
    .option("--username <name>", "account at the mirror, where it asks for one")
    .option("--password-file <file>", "its password")
    .configOption()
    .opsOption()
    .jsonOption("a line of JSON for each image, and one for all")
    .exitCodes({
      0: "all of every image is in the layout",
      1: "something could not be had or written, or the command was interrupted: begun again, it goes on from there",
      2: "no mirror answers or takes the account, or a reference, the command line or the configuration is wrong",
    })
    .action(async (images: string[], options: ExportFlags) => {
      const { exportImages } = await import("./layout/export.ts");
      finish(await exportImages(images, options, context));
    });
  root
    .command("import")
    .description("bring the images of an OCI image layout into a running mirror, which then serves them")
    .argument("<path>", "the layout: a directory, a tar, or - for a tar from the standard input")
    .option("--upstream <name>", "the upstream of the mirror they belong to, when not the one they say")
    .option(
      "--repository <name>",
      "repository[:tag] of images that do not say it, by the name it has at the upstream",
    )
    .option("--pin", "pin all of them; without it those of upstreams that are offline are pinned")
    .option("--no-pin", "pin none of them")
    .option("--dry-run", "only read and check everything, and tell what would be served")
    .configOption()
    .opsOption()
    .jsonOption("a line of JSON for each image, and one for all")
    .exitCodes({
      0: "all images are here, and pinned where they are to be",
      1: "the layout is not right, an image is not whole in it or cannot be taken or pinned, or the command was interrupted",
      2: "no mirror answers, an image needs --upstream or --repository, or the command line or the configuration is wrong",
    })
    .action(async (path: string, options: ImportFlags) => {
      const { importImages } = await import("./layout/import.ts");
      finish(await importImages(path, options, context));
    });
  root.commandsGroup(commandGroups.shell);
  root
    .command("completion")
    .description("print what makes a shell complete these commands and their options")
    .addArgument(new Argument("<shell>", "which shell").choices(shells))
    .addHelpText(
      "after",
      `
Examples:
  source <(entrepot completion bash)                       in ~/.bashrc
  source <(entrepot completion zsh)                        in ~/.zshrc, behind compinit
  entrepot completion fish > ~/.config/fish/completions/entrepot.fish`,
    )
    .action((shell: Shell) => {
      context.out(completionScript(shell, root));
      finish(exitCode.done);
    });
  root
    .command("man")
    .description("print the manual page, as man -l - reads it")
    .action(() => {
      context.out(manualPage(root));
      finish(exitCode.done);
    });
  root.helpCommand("help [command]", "print the help of a command");
  root.command("worker", { hidden: true }).action(async () => finish(await worker(context)));
  return root;
}

/** Runs the command that `argv` (without the program's own name) asks for; resolves to the exit code. */
export async function run(argv: readonly string[], context: Context): Promise<number> {
  let code: number = exitCode.done;
  const root = program(context, (result) => {
    code = result;
  });
  try {
    refuseUnknownCommand(root, argv[0]);
    await root.parseAsync(argv, { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    return error.exitCode === 0 ? exitCode.done : exitCode.usage;
  }
  return code;
}

/** Without this, the default command would complain about too many arguments. */
function refuseUnknownCommand(root: Command, first: string | undefined): void {
  if (first === undefined || first.startsWith("-") || first === "help") return;
  if (root.commands.some((command) => command.name() === first)) return;
  const names = root
    .createHelp()
    .visibleCommands(root)
    .map((command) => command.name());
  const near = nearest(first, names);
  const hint = near === undefined ? `commands: ${names.join(", ")}` : `did you mean ${near}?`;
  root.error(`error: there is no command ${JSON.stringify(first)}; ${hint}`);
}

function days(text: string): string {
  const value = Number(text);
  if (!(Number.isInteger(value) && value >= 1 && value <= 365))
    throw new InvalidArgumentError("Expected a whole number from 1 to 365.");
  return `${value}`;
}

function month(text: string): string {
  if (!isMonth(text)) throw new InvalidArgumentError("Expected a month like 2026-11, or all.");
  return text;
}

function collect(value: string, before: readonly string[] = []): string[] {
  return [...before, value];
}

function port(text: string): number {
  const value = /^\d{1,5}$/.test(text) ? Number(text) : Number.NaN;
  if (!(value <= 65_535)) throw new InvalidArgumentError("Expected a number from 0 to 65535.");
  return value;
}
