"""HTML template of report.html."""

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light; }}
body {{ font: 16px/1.6 system-ui, sans-serif; color: #1c2430; background: #fff; max-width: 68rem; margin: 3rem auto;
  padding: 0 1.25rem; }}
h1 {{ font-size: 1.7rem; line-height: 1.25; margin: 0 0 .4rem; overflow-wrap: anywhere; }}
h2 {{ font-size: 1.15rem; margin: 2.6rem 0 .7rem; }}
.lead {{ font-size: 1.1rem; color: #39424e; max-width: 42rem; margin: 0; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; }}
th, td {{ padding: .3rem 1.4rem .3rem 0; border-bottom: 1px solid #e6e9ed; text-align: left; font-weight: normal; }}
thead th {{ color: #68717d; font-size: .88rem; }} td:nth-child(3) {{ color: #68717d; padding-right: 0; }}
td:nth-child(2), th:nth-child(2) {{ text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }}
figure {{ margin: 0 0 1.2rem; }} img {{ display: block; max-width: 100%; height: auto; }}
.wide img {{ min-width: 44rem; }} figcaption {{ color: #68717d; font-size: .88rem; overflow-wrap: anywhere; }}
.plots {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(min(19rem, 100%), 1fr)); gap: 1rem; }}
summary {{ cursor: pointer; }}
pre {{ background: #f5f6f8; padding: 1rem; overflow-x: auto; font-size: .82rem; line-height: 1.4; border-radius: 6px; }}
</style></head><body>
<h1>{title}</h1>
{body}
</body></html>
"""
