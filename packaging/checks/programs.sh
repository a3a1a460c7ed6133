# The binary is a release build that runs on every system that the packages say, and its pages and completions are well-formed.
binary=$TREE/usr/bin/lifeboat
if grep -a -q -i failpoint "$binary"; then
    echo "the packaged binary has failpoints compiled in"
    exit 1
fi
"$binary" --version
for page in "$TREE"/usr/share/man/man*/*.gz; do
    said=$(man --warnings -E UTF-8 -l -Tutf8 -Z "$page" 2>&1 >/dev/null)
    [ -z "$said" ] || { echo "$page: $said"; exit 1; }
done
# Every command of --help has its page.
"$binary" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z][a-z-]*\) .*/\1/p' | grep -v '^help$' >/tmp/commands
[ "$(wc -l </tmp/commands)" -gt 10 ]
while read -r command; do
    [ -e "$TREE/usr/share/man/man1/lifeboat-$command.1.gz" ] || { echo "no page of 'lifeboat $command'"; exit 1; }
done </tmp/commands
bash -n "$TREE/usr/share/bash-completion/completions/lifeboat"
zsh -n "$TREE/usr/share/zsh/vendor-completions/_lifeboat"
grep -q 'complete -c lifeboat' "$TREE/usr/share/fish/vendor_completions.d/lifeboat.fish"
