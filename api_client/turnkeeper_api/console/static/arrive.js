// A link from elsewhere is not let in; the same address asked for by our own page is.
location.replace(location.href);
