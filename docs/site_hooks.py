"""What MkDocs does not do by itself: links from the pages to files outside docs/ become the files' names."""

import logging
import re
from pathlib import Path

log = logging.getLogger('mkdocs.plugins.site_hooks')
OUTSIDE = re.compile(r'\[([^\]]+)\]\((\.\./[^)#]+)(#[^)]*)?\)')


def on_page_markdown(markdown: str, page, config, files) -> str:
    """The site holds no configs and no code, and does not know where the repository is served."""
    folder = Path(config['docs_dir'], page.file.src_path).parent

    def name(link: re.Match) -> str:
        if not (folder / link[2]).exists():
            log.warning('%s links to %s, which does not exist', page.file.src_path, link[2])
        return link[1]

    return OUTSIDE.sub(name, markdown)
