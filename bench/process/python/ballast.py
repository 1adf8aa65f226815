"""A hundred MiB of small objects and some of the larger modules, as a real program has them."""

import asyncio
import decimal
import email.message
import http.client
import json
import logging.config
import sqlite3
import ssl
import unittest.mock
import urllib.request
import xml.etree.ElementTree
import zipfile

MODULES = [asyncio, decimal, email, http, json, logging, sqlite3, ssl, unittest, urllib, xml, zipfile]
KEPT = [bytes([at & 255]) * 4000 for at in range(100 * 1024 * 1024 // 4000)]
