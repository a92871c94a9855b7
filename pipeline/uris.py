"""What a URI may say. A manifest is somebody else's text, and URIs end up in tables and logs."""

import re
from ipaddress import ip_address
from pathlib import Path
from socket import inet_aton
from urllib.parse import unquote, urlsplit

# Where a video may lie.
SCHEMES = ("file", "s3", "gs", "gcs", "az", "abfs", "abfss", "http", "https")

_ONE_SLASH = re.compile(r"([A-Za-z][A-Za-z0-9]+):/(?!/)")  # one letter is a drive of Windows
_AWS_METADATA_V6 = ip_address("fd00:ec2::254")


def check_source(uri: str) -> None:
    """A ValueError unless this is a path, or a URI that a manifest may name.

    Hosts are judged as they are written; what a name resolves to is for the network to restrict.
    """
    if one_slash := _ONE_SLASH.match(uri):
        raise ValueError(f"'{one_slash[0]}' has one slash: did you mean {_begun(one_slash[1])}…?")
    scheme, separator, _ = uri.partition("://")
    if not separator:
        return
    if scheme not in SCHEMES:
        raise ValueError(f"'{scheme}://' is not supported; use a path or {', '.join(SCHEMES)}")
    if local_path(uri):
        return
    refuse_credentials(uri)
    if _hands_out_credentials(urlsplit(uri).hostname or ""):
        raise ValueError("this address serves credentials to cloud machines, not videos")
    parts = urlsplit(uri)
    if "::" in f"{parts.path}{parts.query}" or ("::" in parts.netloc and "[" not in parts.netloc):
        raise ValueError("'::' in a URI would join two of them: give the file another name")


def _begun(scheme: str) -> str:
    """How URIs with a scheme begin."""
    return "file:///" if scheme == "file" else f"{scheme}://"


def local_path(uri: str) -> Path | None:
    """Where a path or file URI lies on this machine; None for other URIs.

    Raises ValueError for a file URI that names another machine, or no whole path.
    """
    scheme, is_uri, rest = uri.partition("://")
    if not is_uri:
        return Path(uri)
    if scheme != "file":
        return None
    path = unquote(rest.removeprefix("localhost"))
    if not path.startswith("/"):
        raise ValueError(f"{uri}: a file's URI begins with file:///")
    return Path(path)


def refuse_credentials(uri: str) -> None:
    """A ValueError for a URI with a key or a password in it."""
    parts = urlsplit(uri)
    if parts.password is not None or (parts.scheme == "s3" and "@" in parts.netloc):
        raise ValueError(
            f"{parts.scheme}://…@{parts.hostname}{parts.path} has credentials in it: take them "
            f"out, and give them by environment, profile or role"
        )


def _hands_out_credentials(host: str) -> bool:
    """Whether this is a cloud's metadata service, or any other link-local address."""
    try:
        address = ip_address(host)
    except ValueError:
        try:
            address = ip_address(inet_aton(host))  # 2852039166 and 0xa9.254.1 are addresses too
        except OSError:
            return host == "metadata.google.internal"
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_link_local or address == _AWS_METADATA_V6
