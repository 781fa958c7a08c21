/** The page's look: for a screen, light or dark, and for paper. */
export const STYLE = `
:root { --ink: #1f2430; --soft: #5d6675; --rule: #e3e1da; --paper: #fdfcf9; --card: #ffffff;
  --good: #1c7c4a; --bad: #b3382c; --accent: #0b6e8f; --tint: #eef5f7; color-scheme: light dark; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e6e3; --soft: #a3a9b5; --rule: #343a46;
  --paper: #171a21; --card: #1e222b; --good: #5cc48d; --bad: #f08a7d; --accent: #63b3cc;
  --tint: #22303a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.55 system-ui,
  -apple-system,
  'Segoe UI', 'DejaVu Sans', sans-serif; }
main { max-width: 1160px; margin: 0 auto; padding: 44px 28px 80px; }
h1 { font-size: 30px; line-height: 1.2; margin: 0 0 6px; letter-spacing: -0.02em; }
h2 { font-size: 20px; line-height: 1.3; margin: 0; letter-spacing: -0.01em; }
h2 code { font-size: 12.5px; color: var(--soft); font-weight: 400; margin-left: 8px; }
h3 { font-size: 13px; font-weight: 600; color: var(--soft); margin: 22px 0 6px; }
p { margin: 6px 0; max-width: 78ch; }
.lead { color: var(--soft); font-size: 16px; }
section { margin-top: 44px; padding-top: 26px; border-top: 1px solid var(--rule); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 18px; margin: 18px 0 0;
  font-size: 13.5px; }
dt { color: var(--soft); } dd { margin: 0; }
.noisy { border-left: 4px solid var(--bad); padding: 8px 14px; margin: 18px 0;
  background: var(--card); }
.quiet { border-left: 4px solid var(--good); padding: 8px 14px; margin: 18px 0;
  background: var(--card); }
.scroll { overflow-x: auto; margin: 14px 0 6px; }
table { border-collapse: collapse; font-size: 12.5px; font-variant-numeric: tabular-nums;
  width: 100%; }
th, td { padding: 4.5px 8px; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--rule); }
th { font-weight: 600; color: var(--soft); font-size: 12px;
  border-bottom: 1.5px solid var(--soft); }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
td:first-child { white-space: normal; min-width: 190px; }
tr.next td { border-top: 1px solid var(--soft); }
td .metric { color: var(--soft); }
td.ratio { background: var(--tint); font-weight: 600; }
th.ratio { background: var(--tint); }
.good { color: var(--good); } .bad { color: var(--bad); }
.spread { color: var(--soft); font-size: 11px; display: inline-block; min-width: 4.2em;
  text-align: right; }
.tag { font-size: 12px; font-weight: 600; }
.shows-not { color: var(--soft); font-size: 13.5px; } .shows-not b { color: var(--ink);
  font-weight: 600; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; font-size: 12.5px; color: var(--soft);
  margin: 14px 0 4px; }
.who span { display: block; } .who b { font-weight: 600; }
.legend i, .who i { display: inline-block; width: 12px; height: 12px; border-radius: 2px;
  margin-right: 6px; vertical-align: -1.5px; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(310px, 1fr));
  gap: 4px 22px; }
figure { margin: 18px 0 6px; break-inside: avoid; } figcaption { font-size: 12.5px;
  color: var(--soft); margin-bottom: 6px; }
svg { width: 100%; height: auto; display: block; }
svg text { font: 10.5px system-ui, 'DejaVu Sans', sans-serif; fill: var(--soft); }
svg text.value { font-size: 9.5px; }
.grid { stroke: var(--rule); stroke-width: 1; } .axis { stroke: var(--soft); stroke-width: 1; }
.whisker { stroke: var(--ink); stroke-width: 1.2; opacity: 0.65; }
.mark-bar { width: 150px; } .mark-bar svg { width: 150px; }
footer { margin-top: 60px; color: var(--soft); font-size: 12.5px; }
@media print { :root { --paper: #fff; --card: #fff; --ink: #000; --soft: #444; --rule: #ccc;
  --tint: #f2f2f2;
  --good: #14663a; --bad: #9c2a20; } @page { size: A4; margin: 14mm; } body { font-size: 10pt; }
  main { max-width: none; padding: 0; } section { break-inside: auto; margin-top: 22px;
  padding-top: 14px; }
  h2, h3, figcaption { break-after: avoid; } tr { break-inside: avoid; } .scroll {
  overflow: visible; }
  table { font-size: 7.6pt; } th, td { padding: 2.5px 5px; } th { font-size: 7.2pt; } .plots {
  grid-template-columns: repeat(3, 1fr); }
  td:first-child { min-width: 0; } table.wide, table.wide th { font-size: 6.1pt; }
  table.wide th, table.wide td { padding: 2.5px 2.5px; }
  .spread { min-width: 0; font-size: 0.85em; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
`
