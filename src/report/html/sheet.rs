//! The page's colours and its style sheet.
//!
//! Colours have enough contrast on the light page and on the dark one: 4.5 for text, 3 for parts of bars (WCAG 2.2, AA). Those
//! of bars stand in place, since they carry the meaning, and mail programs may drop the sheet.

pub(super) const IN_SYNC: &str = "#4c9f70";
pub(super) const PUSHED: &str = "#3b7dd8";
pub(super) const FAILED: &str = "#d1495b";
pub(super) const LEFT: &str = "#87919d";

/// In a narrow window each row of a table is a card, whose cells have their titles before them. There are no variables in
/// it, which mail programs do not know.
pub(super) const SHEET: &str = "\
body{margin:0;background:#f3f5f8;color:#1d2733;font:14px/1.45 -apple-system,'Segoe UI',Roboto,'DejaVu Sans',Arial,\
sans-serif;-webkit-text-size-adjust:100%}\
main{display:block;max-width:880px;margin:24px auto;box-sizing:border-box;padding:24px 28px;background:#fff;border:1px \
solid #dde2e8;border-radius:8px}\
h1,summary,.reason,.order,.failures,.name{overflow-wrap:anywhere}\
.name{display:inline-block;font-weight:600;min-width:8em}\
h1{font-size:22px;margin:0 0 4px}\
h2{font-size:16px;margin:28px 0 8px}\
.word{border-radius:4px;color:#fff;display:inline-block;font-size:13px;font-weight:600;padding:3px 8px;\
vertical-align:3px}\
.good{background:#2b7549}.fair{background:#945600}.bad{background:#b8293d}\
.faint{color:#5c6874;font-size:12px;font-weight:400}\
.reason,.order{border-left:4px solid #d1495b;margin:0 0 8px;padding:8px 12px}\
.reason{background:#fdecef}.order{border-color:#dde2e8}\
.tile{display:inline-block;min-width:120px;padding:8px 24px 8px 0;vertical-align:top}\
.tile b{display:block;font-size:22px;font-weight:600}\
.failures{color:#b8293d}\
table{border-collapse:collapse;width:100%}\
.rows th{border-bottom:1px solid #dde2e8;color:#5c6874;font-size:12px;font-weight:600;padding:4px 8px 4px 0;\
text-align:left;white-space:nowrap}\
.rows>tbody>tr>td{border-bottom:1px solid #dde2e8;padding:6px 8px 6px 0;vertical-align:top}\
.rows .wide{width:30%}\
.bar{height:12px;margin-top:4px;min-width:100px;table-layout:fixed}\
.bar td{font-size:0;line-height:0;padding:0}\
.time{border-bottom:1px solid #dde2e8;table-layout:fixed}\
.time td{height:96px;padding:0 1px;vertical-align:bottom}\
details{border-bottom:1px solid #dde2e8;padding:6px 0}\
summary{cursor:pointer}\
details .rows{margin:6px 0 6px 16px;width:calc(100% - 16px)}\
@media (max-width:720px){\
main{border:0;border-radius:0;margin:0;padding:16px 12px}\
.tile{min-width:40%;padding-right:8px}\
.rows,.rows>tbody,.rows>tbody>tr,.rows>tbody>tr>td{display:block;width:auto}\
.rows .titles{display:none}\
.rows .wide{width:auto}\
.rows>tbody>tr{border-bottom:1px solid #dde2e8;padding:6px 0}\
.rows>tbody>tr>td{border:0;padding:1px 0}\
.rows>tbody>tr>td[title]:before{color:#5c6874;content:attr(title) ': ';font-size:12px}\
details .rows{margin-left:8px;width:auto}\
.time td{padding:0}}\
@media (prefers-color-scheme:dark){\
body{background:#0d1117;color:#e6edf3}\
main{background:#161b22;border-color:#30363d}\
.faint,.rows th,.rows>tbody>tr>td[title]:before{color:#9aa7b4}\
.reason{background:#3a1d22}\
.failures{color:#ff8a99}\
.rows th,.rows>tbody>tr,.rows>tbody>tr>td,.time,details,.order{border-color:#30363d}}";
