// Faults that types do not show; how the code looks is left alone.
const faults = [
  "array-callback-return", "constructor-super", "eqeqeq", "for-direction", "getter-return",
  "no-async-promise-executor", "no-compare-neg-zero", "no-cond-assign", "no-const-assign",
  "no-constant-binary-expression", "no-dupe-args", "no-dupe-class-members", "no-dupe-else-if",
  "no-dupe-keys", "no-duplicate-case", "no-empty-pattern", "no-eval", "no-ex-assign",
  "no-fallthrough", "no-func-assign", "no-implied-eval", "no-import-assign", "no-inner-declarations",
  "no-invalid-regexp", "no-irregular-whitespace", "no-loss-of-precision", "no-new-wrappers",
  "no-obj-calls", "no-prototype-builtins", "no-redeclare",
  "no-self-assign", "no-self-compare", "no-setter-return", "no-shadow", "no-sparse-arrays",
  "no-this-before-super", "no-throw-literal", "no-unreachable", "no-unreachable-loop",
  "no-unsafe-finally", "no-unsafe-negation", "no-unsafe-optional-chaining",
  "no-unused-expressions", "no-unused-private-class-members", "no-unused-vars", "no-useless-catch",
  "no-useless-escape", "no-var", "prefer-const", "require-yield", "use-isnan", "valid-typeof",
];
const rules = Object.fromEntries(faults.map((name) => [name, "error"]));
rules["no-cond-assign"] = ["error", "except-parens"];
rules["no-unused-vars"] = ["error", { ignoreRestSiblings: true }];

export default [{ ignores: ["**/dist/"] }, { files: ["**/*.js", "**/*.mjs"], rules }];
