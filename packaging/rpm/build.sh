#!/bin/sh
# Builds the .rpm inside of the tools root: build.sh VERSION TREE OUT [rpmbuild options]
set -eu
version=$1 tree=$2 out=$3
shift 3
# Its files are of a group that is in the package itself.
rpmbuild -bb --quiet --nodeps --define "_topdir /tmp/rpmbuild" --define "_rpmdir $out" --define "_build_name_fmt %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm" \
    --define "_buildhost localhost" --define "use_source_date_epoch_as_buildtime 1" --define "clamp_mtime_to_source_date_epoch 1" \
    --define "version $version" --define "tree $tree" --define "source /project" "$@" /project/packaging/rpm/lifeboat.spec
