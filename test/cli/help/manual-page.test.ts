import t from "tap";
import { settings } from "../../../src/config/settings.ts";
import { commandLine } from "../../fixtures/command-line.ts";

t.test("the manual page has every command, option, exit code and setting", async (t) => {
  const line = commandLine(["man"]);
  t.equal(await line.exit, 0);
  t.equal(line.err(), "");
  const page = line.out();
  t.match(page, /^\.TH ENTREPOT 1 "" "entrepot 1\.2\.3"/);
  for (const section of ["NAME", "SYNOPSIS", "COMMANDS", "EXIT STATUS", "ENVIRONMENT", "FILES", "EXAMPLES"])
    t.match(page, `\n.SH ${section}\n`);
  for (const { env, key } of settings)
    t.match(page, `\n.B ${env === undefined ? key : `ENTREPOT_${env}`}\n`, key);
  t.match(page, '\n.SS "why \\fIreference\\fR"\n');
  t.match(page, "\n.B \\-\\-from <file>\na file with an image a line; # begins a comment (repeatable)\n");
  t.match(page, "\n.TP\n.B 1\nit is not\n", "exit codes of commands");
  t.match(page, "the image is here as a whole: of an index, every image whose manifest is here\n");
  t.notMatch(page, /\bworker\b\n/, "nothing hidden");
});

t.test("no line of text is taken for a request, and no hyphen for a dash", async (t) => {
  const line = commandLine(["man"]);
  await line.exit;
  for (const each of line.out().split("\n")) {
    t.ok(/^(?:\.(?:TH|SH|SS|TP|PP|B|I|BR)\b|[^.'])/.test(each) || each === "", each);
    if (!/^\.(?:TH|SS)/.test(each)) t.notMatch(each.replaceAll("\\-", ""), "-", each);
  }
});
