// Words and trees: comments as paragraphs, schemas as types, schemas as examples. No network here.

/** Makes an element. Properties that begin with `on` are listeners; text is never read as HTML. */
export function h(name, properties, ...children) {
  const [tag, ...classes] = name.split(".");
  const made = document.createElement(tag || "div");
  if (classes.length) made.className = classes.join(" ");
  for (const [key, value] of Object.entries(properties ?? {})) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value != null) made.setAttribute(key, value);
  }
  made.append(...children.flat(9).filter((one) => one != null && one !== false));
  return made;
}

/** A line of a comment, with `code` set as such. */
export function inline(text) {
  return text.split(/(`[^`\n]+`)/).map((part) =>
    part.length > 2 && part.startsWith("`") ? h("code", {}, part.slice(1, -1)) : part,
  );
}

/** A comment: paragraphs with blank lines between, lists by `-` or `*`. */
export function prose(text) {
  return (text ?? "")
    .split(/\n\s*\n/)
    .filter((block) => block.trim())
    .map((block) => {
      const lines = block.split("\n");
      const first = lines.findIndex((line) => /^\s*[-*] /.test(line));
      if (first < 0) return h("p", {}, inline(block.replace(/\s+/g, " ").trim()));
      const items = lines.slice(first).join("\n").split(/^\s*[-*] /m).filter((item) => item.trim());
      return [
        first > 0 && h("p", {}, inline(lines.slice(0, first).join(" "))),
        h("ul", {}, items.map((item) => h("li", {}, inline(item.replace(/\s+/g, " "))))),
      ];
    });
}

export function shortName(name) {
  return name.slice(name.lastIndexOf(".") + 1);
}

/** The schema that a reference stands for, with its name. */
export function resolved(schema, spec) {
  const name = schema.$ref?.split("/").pop();
  return name ? { name, schema: spec.components.schemas[name] ?? {} } : { name: "", schema };
}

/** A short word for a schema's type. */
export function typeOf(schema, spec) {
  if (schema.$ref) {
    const { name, schema: target } = resolved(schema, spec);
    return target.enum ? `enum ${shortName(name)}` : shortName(name);
  }
  if (schema.type === "array") return `${typeOf(schema.items ?? {}, spec)}[]`;
  if (schema.type === "object" && schema.additionalProperties)
    return `map of ${typeOf(schema.additionalProperties, spec)}`;
  if (schema.oneOf?.[0]?.format) return schema.oneOf[0].format;
  if (schema.contentEncoding) return "bytes (base64)";
  if (schema.format === "date-time") return "timestamp";
  if (schema.pattern?.endsWith("s$")) return "duration";
  return schema.format ?? schema.type ?? "any";
}

/** The object or enum behind arrays and maps, if there is something to unfold. */
export function inside(schema, spec) {
  if (schema.type === "array") return inside(schema.items ?? {}, spec);
  if (schema.type === "object" && schema.additionalProperties)
    return inside(schema.additionalProperties, spec);
  const { schema: target } = resolved(schema, spec);
  return target.enum || Object.keys(target.properties ?? {}).length ? target : null;
}

const DEPTH = 4;

/** A document that fits *schema*; `answer` says whether it is one that is sent or received. */
export function example(schema, spec, answer, name = "", depth = 0) {
  const { schema: target } = resolved(schema, spec);
  if (target.enum) return target.enum.find((one) => !/_UNSPECIFIED$/.test(one)) ?? target.enum[0];
  if (target.type === "array")
    return depth < DEPTH ? [example(target.items ?? {}, spec, answer, name, depth + 1)] : [];
  if (target.type === "object") {
    if (depth >= DEPTH) return {};
    if (target.additionalProperties)
      return { key: example(target.additionalProperties, spec, answer, "", depth + 1) };
    return Object.fromEntries(fields(target, answer).map(([key, field]) =>
      [key, example(field, spec, answer, key, depth + 1)]));
  }
  if (target.oneOf?.[0]?.type === "number") return 0.5;
  return simple(target, name);
}

function simple(schema, name) {
  if (schema.format === "date-time") return "2026-06-01T12:00:00Z";
  if (schema.pattern?.endsWith("s$")) return "1.5s";
  if (schema.contentEncoding) return "aGVsbG8=";
  if (schema.type === "boolean") return true;
  if (schema.type === "integer") return 1;
  if (/int64/.test(schema.format ?? "")) return "1";
  return schema.type === "string" ? name || "text" : null;
}

/** The fields to show: of alternatives only the first, and none that goes the other way. */
function fields(schema, answer) {
  const others = new Set(
    (schema.allOf ?? []).flatMap((one) =>
      (one.oneOf ?? []).filter((way) => way.required).slice(1).flatMap((way) => way.required)),
  );
  return Object.entries(schema.properties ?? {}).filter(
    ([key, field]) =>
      !others.has(key) && !field.deprecated && !(answer ? field.writeOnly : field.readOnly),
  );
}

/** JSON with its strings, numbers and names told apart. */
export function coloured(value) {
  const text = JSON.stringify(value, null, 2);
  const parts = text.split(/("(?:[^"\\]|\\.)*"\s*:?|-?\b\d[\d.]*\b|\btrue\b|\bfalse\b|\bnull\b)/);
  return parts.map((part, number) => {
    if (number % 2 === 0) return part;
    const kind = part.endsWith(":") ? "key" : part.startsWith('"') ? "str" : "num";
    return h(`span.${kind}`, {}, part);
  });
}
