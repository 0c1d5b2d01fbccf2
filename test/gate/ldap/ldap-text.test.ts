import fc from "fast-check";
import { EqualityFilter, FilterParser } from "ldapts";
import t from "tap";
import { dnValue, filled, filterValue, nameBelow, valueIn } from "../../../src/gate/ldap/ldap-text.ts";

t.test("a value in the name of an entry is nothing but a value", async (t) => {
  t.equal(dnValue("alice"), "alice");
  t.equal(dnValue("a,ou=admins"), "a\\,ou\\=admins");
  t.equal(dnValue('a+b=c"d;<e>\\'), 'a\\+b\\=c\\"d\\;\\<e\\>\\\\');
  t.equal(dnValue("a\0b\n"), "a\\00b\\0a");
  t.equal(dnValue("  a  "), "\\  a \\ ");
  t.equal(dnValue(" "), "\\ ");
  t.equal(dnValue("#a#"), "\\#a#");
  t.equal(dnValue("Jörg 名"), "Jörg 名");
});

t.test("a value in a filter is nothing but a value", async (t) => {
  t.equal(filterValue("*)(uid=*"), "\\2a\\29\\28uid=\\2a");
  t.equal(filterValue("a\\2a\0"), "a\\5c2a\\00");
  t.equal(filterValue('a,b+"Jörg 名'), 'a,b+"Jörg 名');
});

t.test("whatever a client sends, a filter stays the one it was", async () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string({ unit: "binary" }),
        fc.string({ unit: fc.constantFrom(...'*()\\\0,+"&|!=<>~:{}u') }),
      ),
      (value) => {
        const filter = FilterParser.parseString(filled("(uid={user})", { user: filterValue(value) }));
        return filter instanceof EqualityFilter && filter.attribute === "uid" && filter.value === value;
      },
    ),
  );
});

t.test("whatever a client sends, the name of an entry has the same parts", async () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string({ unit: "binary", minLength: 1 }),
        fc.string({ unit: fc.constantFrom(...' ,+"\\#;<>=\0ou'), minLength: 1 }),
      ),
      (value) => {
        const dn = filled("uid={user},ou=people,dc=example", { user: dnValue(value) });
        return nameBelow(dn, "ou=people,dc=example") === value;
      },
    ),
  );
});

t.test("what stands in a name where the template has a word", async (t) => {
  const template = "uid={user},ou=People,dc=example";
  const of = (dn: string, by = template) => valueIn(dn, by, "{user}");
  t.equal(of("uid=alice,ou=people,dc=example"), "alice");
  t.equal(of("UID = Alice , OU=PEOPLE,DC=example"), "Alice");
  t.equal(of("uid=a\\2cb\\+c,ou=people,dc=example"), "a,b+c");
  t.equal(of("uid=alice+cn=x,ou=people,dc=example"), "alice", "the first attribute of a part");
  for (const other of [
    "cn=alice,ou=people,dc=example",
    "uid=alice,dc=example",
    "uid=alice,ou=more,ou=people,dc=example",
    "uid=,ou=people,dc=example",
    "alice",
    "",
  ])
    t.equal(of(other), undefined, other);
  t.equal(of("cn=Svc-ci-1,dc=example", "cn=svc-{user}-1,dc=example"), "ci");
  for (const other of ["cn=svc--1,dc=example", "cn=svc-1,dc=example", "cn=ci-1,dc=example"])
    t.equal(of(other, "cn=svc-{user}-1,dc=example"), undefined, other);
  t.equal(of("dc=example", "ou=people,dc=example"), undefined, "a template without it");
});

t.test("whatever a client sends, it is what stands there", async () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", minLength: 1 }), (value) => {
      const template = "uid={user},ou=people,dc=example";
      return valueIn(filled(template, { user: dnValue(value) }), template, "{user}") === value;
    }),
  );
});

t.test("what is filled in is not looked at again", async (t) => {
  t.equal(filled("{user} {dn} {other}", { user: "{dn}", dn: "$& $1" }), "{dn} $& $1 {other}");
});

t.test("a group counts where groups are, by its own part of its name", async (t) => {
  const base = "ou=Groups, dc=example,DC=com";
  t.equal(nameBelow("cn=builders,ou=groups,dc=example,dc=com", base), "builders");
  t.equal(nameBelow("CN=B\\, c ,ou=a,ou=groups , dc=example,dc=com", base), "B, c");
  t.equal(nameBelow("cn=B\\C3\\BCro+ou=x,ou=groups,dc=example,dc=com", base), "Büro");
  for (const elsewhere of [
    "cn=builders,ou=mine,dc=example,dc=com",
    "cn=builders,ou=groups,dc=example,dc=org",
    "cn=builders,cn=x\\,ou=groups,dc=example,dc=com",
    "cn=builders\\,ou=groups,dc=example,dc=com",
    "ou=groups,dc=example,dc=com",
    "cn=#0403616263,ou=groups,dc=example,dc=com",
    "builders",
    "",
  ])
    t.equal(nameBelow(elsewhere, base), undefined, elsewhere);
});
