"""The REST API over the domain: parse, check membership, call one domain function, answer."""
