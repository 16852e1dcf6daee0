"""The lab, the wire, and the ``overspray`` command."""
