"""Runs localstripe on a port of this machine, without its file in the folder of temporary files.

python -m tests.billing.localstripe_server PORT
"""

import sys
from typing import Any

from aiohttp import web
from localstripe import resources, server

resources.Store.dump_to_disk = lambda self: None

_list_items: Any = resources.InvoiceItem._api_list_all.__func__


def _list_pending(cls: Any, /, url: Any, pending: Any = None, **query: Any) -> Any:
    # It lists pending ones alone, and is older than the parameter that asks for them.
    return _list_items(cls, url, **query)


resources.InvoiceItem._api_list_all = classmethod(_list_pending)

web.run_app(server.app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
